"""Functions of the Python interface that are not a module of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edge_lstm.backends import backend as find_backend
from edge_lstm.errors import EdgeLstmError
from edge_lstm.files import output_folder, write_bytes, write_text
from edge_lstm.integer_model import IntegerModel
from edge_lstm.model import FloatModel
from edge_lstm.runtime import execute, real_outputs

FORMATS = ("float-onnx", "integer-onnx", "c99")


def run(
    model: FloatModel | IntegerModel,
    x: Any,
    *,
    lengths: Any = None,
    backend: str = "numpy",
    raw: bool = False,
) -> dict[str, NDArray[Any]]:
    """Outputs of a model.

    Args:
        model: A float model is evaluated in NumPy.
        x: (windows, steps, channels) samples in the channels' units.
        lengths: (windows,) steps of each window, of a model for windows of several lengths; what is beyond is not
            looked at, and must be finite.
        backend: For a quantized model: ``numpy``, ``onnxruntime``, ``c``, ``device`` or the name of a core.
        raw: Give the integers of a quantized model instead of their real values.

    Returns:
        ``scores`` (windows, classes), logits or the outputs of a regression; of a classifier ``class_index``
        (windows,), and ``probabilities`` (windows, classes) where the model has them. Where a model gives outputs for
        each step, these have an axis of steps after that of the windows, and are 0 beyond a window's end.

    Raises:
        EdgeLstmError: Bad samples, windows of another length than a mean over the window was made for, or an
            unknown backend.
    """
    if isinstance(model, FloatModel):
        if raw or backend != "numpy":
            raise EdgeLstmError(f"a float model runs in numpy and has no integers; backend {backend!r}, raw {raw}")
        return model.run(x, lengths=lengths)
    integers = model.quantize_input(x)
    steps = model.signature.steps
    if model.fixed_mean and integers.ndim == 3 and integers.shape[1] != steps:
        raise EdgeLstmError(
            f"windows of {integers.shape[1]} steps; {model.signature.name} takes the mean over windows of {steps}"
        )
    outputs = find_backend(backend)(model, integers, lengths=lengths).outputs
    return dict(outputs) if raw else real_outputs(model, outputs)


def export_model(
    model: FloatModel | IntegerModel, *, format: str, out: str | Path, window: Any = None, force: bool = False
) -> list[Path]:
    """Write a model for another tool.

    Args:
        model: A float model for ``float-onnx``, a quantized one for the others.
        format: ``float-onnx``, ``integer-onnx`` or ``c99``.
        out: Folder; replaced if it holds only what an earlier export wrote.
        window: (steps, channels) samples in the channels' units that the C example replays; a reproducible
            pseudo-random window where None.
        force: Write into a folder that holds other things, which are kept.

    Returns:
        The files written.

    Raises:
        EdgeLstmError: Unknown format, wrong kind of model, or a folder that holds something else.
    """
    if format not in FORMATS:
        raise EdgeLstmError(f"no export format {format!r}; accepted are {', '.join(FORMATS)}")
    wanted = FloatModel if format == "float-onnx" else IntegerModel
    if not isinstance(model, wanted):
        kind = "float" if wanted is FloatModel else "quantized"
        raise EdgeLstmError(f"format {format} takes a {kind} model; give the folder of a training run, or train one")
    name = model.signature.name
    with output_folder(out, force=force) as folder:
        if isinstance(model, FloatModel):
            from edge_lstm.export.onnx_float import build as build_float

            write_bytes(folder / f"{name}.onnx", build_float(model).SerializeToString())
        elif format == "integer-onnx":
            from edge_lstm.export.onnx_integer import build as build_integer

            write_bytes(folder / f"{name}_integer.onnx", build_integer(model).SerializeToString())
        else:
            for file, text in _c_files(model, window).items():
                write_text(folder / file, text)
        written = sorted(path.name for path in folder.iterdir())
    return [Path(out) / file for file in written]


def _c_files(model: IntegerModel, window: Any) -> dict[str, str]:
    from edge_lstm.export import c99
    from edge_lstm.samples import example_samples

    samples = example_samples(model, 1) if window is None else window[None]
    integers = model.quantize_input(samples)
    scores = execute(model, integers).outputs["scores"][0]
    return {**c99.sources(model), **c99.example(model, integers[0], scores)}
