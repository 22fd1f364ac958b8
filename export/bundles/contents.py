"""What all bundles have in common."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_lstm._version import __version__
from edge_lstm.codec import digest
from edge_lstm.export import c99, c99_selftest
from edge_lstm.export.c99_normalize import Normalization
from edge_lstm.export.c99_text import render
from edge_lstm.fixedpoint import Integers
from edge_lstm.format_search import model_bytes
from edge_lstm.integer_model import IntegerModel
from edge_lstm.lower import lower

if TYPE_CHECKING:
    from edge_lstm.cost import Cost


@dataclass(frozen=True)
class Contents:
    """What goes into a bundle.

    Attributes:
        model: The model.
        window: (steps, channels) input integers that the example replays.
        scores: What the model gives for them.
        golden: (steps, channels) input integers of the self-test; made up where None.
        normalization: Of raw samples, or None.
        cost: Measured in the emulator; None where it is not installed.
        skip: Layers that skip columns whose element is 0.
    """

    model: IntegerModel
    window: Integers
    scores: Integers
    golden: Integers | None = None
    normalization: Normalization | None = None
    cost: Cost | None = None
    skip: Collection[str] = ()

    @property
    def name(self) -> str:
        """Of the model."""
        return self.model.signature.name

    def example(self, host: c99.Host) -> str:
        """A program that replays the window."""
        return c99.replay(self.model, self.window, self.scores, host=host)

    def code(self, *, sources: str, headers: str) -> dict[str, str]:
        """Path to text of the model and of its self-test, in folders of these names."""
        model, selftest = self.model, c99_selftest
        texts = c99.sources(model, normalization=self.normalization, skip=self.skip)
        texts |= selftest.sources(model, window=self.golden, normalization=self.normalization)
        return {f"{headers if name.endswith('.h') else sources}/{name}": text for name, text in texts.items()}

    def render(self, template: str) -> str:
        """A template of ``templates/bundles``."""
        return render(f"bundles/{template}.j2", self._context)

    def readme(self, format: str) -> dict[str, str]:
        """``README.md``, with what is to be done in this build system."""
        context = self._context | {
            "format": format,
            "channels": self._channels(),
            "class_names": [markdown(c) for c in self.model.signature.classes],
            "cost": self.cost,
            "constants": model_bytes(self.model),
            "normalization": self.normalization,
        }
        return {"README.md": render("bundles/readme.md.j2", context)}

    @property
    def _context(self) -> dict[str, Any]:
        signature = self.model.signature
        return {
            "name": self.name,
            "NAME": self.name.upper(),
            "version": __version__,
            "digest": digest(self.model),
            "title": self.model.title,
            "streams": lower(self.model).streams,
            "each": lower(self.model).each,
            "pooled": any(state.name.startswith("pool.") for state in lower(self.model).states),
            "classifies": signature.task == "classify",
            "steps": signature.steps,
            "rate": signature.rate_hz,
            "x_type": f"{self.model.input_type.name}_t",
            "x_limit": self.model.input_format.max,
            "score_scale": self.model.score_scale,
            "sizes": c99.memory(self.model, skip=self.skip),
        }

    def _channels(self) -> list[dict[str, Any]]:
        model, limit = self.model, self.model.input_format.max
        rows = zip(model.signature.channels, model.signature.units, model.input_offset, model.input_scale, strict=True)
        return [
            {
                "name": markdown(name),
                "unit": markdown(unit),
                "offset": f"{offset:.6g}",
                "scale": f"{scale:.6g}",
                "low": f"{offset - limit * scale:.4g}",
                "high": f"{offset + limit * scale:.4g}",
            }
            for name, unit, offset, scale in rows
        ]


def markdown(text: str) -> str:
    """Text of a user in Markdown, as it stands: no character of it is markup."""
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|~&])", r"\\\1", text)
