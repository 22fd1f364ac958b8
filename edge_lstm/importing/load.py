"""ONNX files to models: those that edge-lstm wrote, and those of strangers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError, MissingExtraError
from edge_lstm.graph.graph import FloatGraph
from edge_lstm.importer import is_own, one_line, own_model
from edge_lstm.importing.errors import UnsupportedError
from edge_lstm.importing.graph_model import GraphModel, graph_model
from edge_lstm.importing.interpreter import Imported, interpret
from edge_lstm.importing.reader import read
from edge_lstm.importing.recognise import Recognised, recognise
from edge_lstm.known_ranges import KnownRange
from edge_lstm.model import FloatModel


@dataclass(frozen=True)
class ImportedModel:
    """A float model of strangers.

    Attributes:
        name: For the models made of it: a C identifier, from the file's name.
        imported: What it computes, and how the file lays inputs and outputs out.
    """

    name: str
    imported: Imported

    @property
    def graph(self) -> FloatGraph:
        """What it computes."""
        return self.imported.graph

    @property
    def ranges(self) -> Mapping[str, float]:
        """Name of a value in the file to the largest absolute one that it was quantized for, where the file says it.

        ``known_ranges`` says which of them quantization takes.
        """
        return self.imported.ranges

    def run(self, x: Any) -> dict[str, NDArray[Any]]:
        """Outputs by name, evaluated in NumPy and laid out as in the file; see ``Imported.run``."""
        return self.imported.run(x)

    def recognised(self, *, steps: int | None = None) -> Recognised:
        """It as recurrent layers, pooling and dense layers, with what the file says of its output.

        Args:
            steps: Of a window, where the file leaves them open.

        Raises:
            UnsupportedError: It is something else; says at which node.
        """
        return recognise(self.imported, name=self.name, steps=steps)

    def known_ranges(self, *, steps: int | None = None) -> tuple[KnownRange, ...]:
        """Ranges of the model's values that the file says; as ``recognised``."""
        return self.recognised(steps=steps).known

    def any_model(self, *, steps: int | None = None) -> FloatModel | GraphModel:
        """A ``FloatModel`` where it is one, else the graph.

        Args:
            steps: As of ``recognised``.

        Raises:
            UnsupportedError: It has several inputs or outputs, or the file leaves the steps open and ``steps`` is None.
        """
        try:
            return self.float_model(steps=steps)
        except UnsupportedError:
            return graph_model(self.imported, name=self.name, steps=steps)

    def float_model(self, *, steps: int | None = None) -> FloatModel:
        """As ``recognised``, the model alone."""
        return self.recognised(steps=steps).model


def import_onnx(path: str | Path) -> FloatModel | ImportedModel:
    """The model in a float ONNX file.

    A file that edge-lstm wrote gives back its ``FloatModel``; any other one an ``ImportedModel``, whose operators are
    listed in docs/operators.md. Nothing in a file is executed, and time and memory are bounded by its size.

    Raises:
        UnsupportedError: A node that is not supported: its name, its operator, the reason and what is supported.
        EdgeLstmError: The file is missing, too large, no ONNX file, altered or inconsistent; one line that names it.
        MissingExtraError: onnx is not installed.
    """
    try:
        proto = read(path)
        if is_own(proto):
            return own_model(proto)
        return ImportedModel(model_name(Path(path).stem), interpret(proto))
    except MissingExtraError:
        raise
    except EdgeLstmError as error:
        text = str(error)
        named = text.startswith((f"{path} ", f"{path}:", f"can't read {path}"))
        raise type(error)(text if named else one_line(f"{path}: {text}")) from None


def model_name(stem: str) -> str:
    """A model's name from that of a file."""
    plain = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")[:48].rstrip("_")
    return plain if re.match(r"[a-z]", plain) else f"model_{plain}"[:48].rstrip("_")
