"""A quantized model against the files of its float model: every value in NumPy, the scores on onnxruntime too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from edge_lstm import run_files
from edge_lstm.errors import EdgeLstmError, is_installed
from edge_lstm.importing.load import import_onnx
from edge_lstm.integer_model import IntegerModel
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.oracle import run_onnxruntime
from edge_lstm.quantization_error import QuantizationError, check_alike, quantization_error
from edge_lstm.samples import Samples
from edge_lstm.storage import load_float

if TYPE_CHECKING:
    from edge_lstm.importing.load import ImportedModel

FloatScores = Callable[[Any], NDArray[Any]]


def error_against(path: Path, model: IntegerModel, samples: Samples) -> QuantizationError:
    """Where a quantized model differs from a float one, and by how much.

    Args:
        path: Of the float model: an ONNX file, anybody's, or a training run's folder.
        model: What was made of it.
        samples: On which they are compared.

    Raises:
        EdgeLstmError: A file is missing or broken, the models or samples don't fit each other, or the model is not
            recurrent layers, pooling and dense layers.
        MissingExtraError: onnx is not installed. Without onnxruntime its scores are not compared.
    """
    model = of_layers(model)
    loaded = load_float(path / run_files.FLOAT) if path.is_dir() else import_onnx(path)
    onnx = path / run_files.ONNX if path.is_dir() else path
    scores, normalized = None, False
    if onnx.is_file() and is_installed("onnx", "onnxruntime"):
        scores, normalized = onnx_scores(onnx, loaded, samples)
    floating = loaded if isinstance(loaded, FloatModel) else loaded.float_model(steps=samples.x.shape[1])
    try:
        check_alike(floating, model)
    except EdgeLstmError as error:
        raise EdgeLstmError(f"{path}: {error}") from None
    return quantization_error(
        floating, model, samples.x, lengths=samples.lengths, float_scores=scores, normalized=normalized
    )


def of_layers(model: IntegerModel) -> QuantizedModel:
    """A model whose values can be compared with a float model's.

    Raises:
        EdgeLstmError: It is not recurrent layers, pooling and dense layers.
    """
    if not isinstance(model, QuantizedModel):
        raise EdgeLstmError(
            f"{model.signature.name} is {model.title}; errors are looked for in recurrent layers, pooling and dense "
            "layers, one after the other"
        )
    return model


def onnx_scores(path: Path, loaded: FloatModel | ImportedModel, samples: Samples) -> tuple[FloatScores, bool]:
    """The scores that a float ONNX file gives on onnxruntime.

    Args:
        path: The file.
        loaded: What was read from it.
        samples: Of which they will be asked.

    Returns:
        A function from x to scores; whether these are log-softmax.
    """
    if isinstance(loaded, FloatModel):
        return lambda x: _own_scores(path, x, samples.lengths), False
    from edge_lstm.importing.oracle import Scores

    scores = Scores(path, loaded, samples.x.shape[1], samples.lengths)
    return scores, scores.final != "scores"


def _own_scores(path: Path, x: Any, lengths: Any) -> NDArray[Any]:
    outputs = run_onnxruntime(path, x, lengths=lengths)
    if "scores" not in outputs:
        raise EdgeLstmError(f"{path} gives {', '.join(outputs)}; needed is scores")
    return outputs["scores"]
