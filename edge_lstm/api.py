"""Functions of the Python interface that are not a module of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from edge_lstm.backends import backend as find_backend
from edge_lstm.errors import EdgeLstmError, is_installed
from edge_lstm.files import output_folder, write_bytes, write_text
from edge_lstm.integer_model import IntegerModel
from edge_lstm.model import FloatModel
from edge_lstm.runtime import execute, real_outputs

if TYPE_CHECKING:
    from edge_lstm.cost import Cost
    from edge_lstm.parts import Target

BUNDLE_FORMATS = ("cmake", "arduino", "zephyr", "platformio")
C_FORMATS = ("c99", *BUNDLE_FORMATS)
FORMATS = ("float-onnx", "integer-onnx", *C_FORMATS)


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
    model: FloatModel | IntegerModel,
    *,
    format: str,
    out: str | Path,
    window: Any = None,
    force: bool = False,
    raw_scale: Sequence[float] | None = None,
    raw_offset: Sequence[float] = (0.0,),
    device: str | None = None,
    flash: int | None = None,
    ram: int | None = None,
    skip: bool | None = None,
) -> list[Path]:
    """Write a model for another tool.

    Args:
        model: A float model for ``float-onnx``, a quantized one for the others.
        format: ``float-onnx``, ``integer-onnx``, ``c99``, or a bundle: ``cmake``, ``arduino``, ``zephyr``,
            ``platformio``.
        out: Folder; replaced if it holds only what an earlier export wrote.
        window: (steps, channels) samples in the channels' units that the example and the self-test of C replay. Where
            None: a reproducible pseudo-random window, and a made-up one with all extremes.
        force: Write into a folder that holds other things, which are kept.
        raw_scale, raw_offset: Of the sensor: see ``export.c99_normalize.normalization``; C for raw samples is written
            where a scale is given.
        device: What C is measured on, a core or a part; a model that does not fit on the part is refused.
        flash, ram: Bytes that the model may take, instead of those of the part.
        skip: Whether C for a Cortex-M4, M7 or M33 skips columns of hidden values that are 0, in layers that can: faster
            where most are, at two bytes for a weight. Where None: in those of which at least half are 0 in ``window``,
            and nowhere if flash or RAM are limited.

    Returns:
        The files written.

    Raises:
        EdgeLstmError: Unknown format, wrong kind of model, a name that C does not take, a sensor that can't be, a model
            that is too large or can't skip, or a folder that holds something else.
    """
    if format not in FORMATS:
        raise EdgeLstmError(f"no export format {format!r}; accepted are {', '.join(FORMATS)}")
    wanted = FloatModel if format == "float-onnx" else IntegerModel
    if not isinstance(model, wanted):
        kind = "float" if wanted is FloatModel else "quantized"
        raise EdgeLstmError(f"format {format} takes a {kind} model; give the folder of a training run, or train one")
    if format not in C_FORMATS and any(v is not None for v in (raw_scale, device, flash, ram, skip)):
        raise EdgeLstmError(f"raw_scale, device, flash, ram and skip are of C; format {format} has none of them")
    name = model.signature.name
    with output_folder(out, force=force, nested=format in BUNDLE_FORMATS) as folder:
        if isinstance(model, FloatModel):
            from edge_lstm.export.onnx_float import build as build_float

            write_bytes(folder / f"{name}.onnx", build_float(model).SerializeToString())
        elif format == "integer-onnx":
            from edge_lstm.export.onnx_integer import build as build_integer

            write_bytes(folder / f"{name}_integer.onnx", build_integer(model).SerializeToString())
        else:
            limits = {"device": device, "flash": flash, "ram": ram}
            for file, text in _c_files(model, format, window, raw_scale, raw_offset, limits, skip).items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                write_text(folder / file, text)
        written = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [Path(out) / file for file in written]


def _c_files(
    model: IntegerModel,
    format: str,
    window: Any,
    raw_scale: Sequence[float] | None,
    raw_offset: Sequence[float],
    limits: Mapping[str, Any],
    skip: bool | None,
) -> dict[str, str]:
    """Path in the folder to text."""
    from edge_lstm.export import c99, c99_selftest
    from edge_lstm.export.bundles import BUNDLES
    from edge_lstm.export.bundles.contents import Contents
    from edge_lstm.export.c99_names import check_name
    from edge_lstm.export.c99_normalize import normalization
    from edge_lstm.export.skipping import skipped_layers
    from edge_lstm.parts import target
    from edge_lstm.samples import example_samples

    check_name(model.signature.name)
    normalize = None if raw_scale is None else normalization(model, raw_scale, raw_offset)
    samples = example_samples(model, 1) if window is None else window[None]
    integers = model.quantize_input(samples)
    scores = execute(model, integers).outputs["scores"][0]
    golden = None if window is None else integers[0]
    wanted = target(**limits)
    layers = skipped_layers(model, skip, x=None if window is None or wanted.limited else samples)
    cost = _measured(model, format, samples, wanted, layers)
    if format in BUNDLES:
        return BUNDLES[format](Contents(model, integers[0], scores, golden, normalize, cost, layers))
    return {
        **c99.sources(model, normalization=normalize, skip=layers),
        **c99_selftest.sources(model, window=golden, normalization=normalize),
        **c99.example(model, integers[0], scores),
    }


def _measured(model: IntegerModel, format: str, samples: Any, wanted: Target, skip: Collection[str]) -> Cost | None:
    """What a model takes, where that is limited or to be said; a bundle does without where no emulator is there.

    Raises:
        EdgeLstmError: It does not fit.
        MissingExtraError: It is limited, and can't be measured.
    """
    if format == "c99" and not wanted.limited:
        return None
    if not (wanted.limited or is_installed("ziglang", "unicorn", "capstone", "elftools")):
        return None
    from edge_lstm.cost import simulate
    from edge_lstm.fitting import check_fits

    cost = simulate(model, samples, device=wanted.core, skip=skip)
    check_fits(model, cost, wanted)
    return cost
