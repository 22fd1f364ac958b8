"""Bundles: the C of a model as the library that a build system expects, with an example and a README."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edge_lstm.export.bundles import arduino, cmake, platformio, zephyr
from edge_lstm.export.bundles.contents import Contents

BUNDLES: Mapping[str, Callable[[Contents], dict[str, str]]] = {
    "cmake": cmake.files,
    "arduino": arduino.files,
    "zephyr": zephyr.files,
    "platformio": platformio.files,
}
"""Format to a function that gives path in the bundle to text."""
