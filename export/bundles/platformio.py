"""A PlatformIO library, with an example project for a board and for this computer."""

from __future__ import annotations

import json
from typing import Any

from edge_lstm._version import __version__
from edge_lstm.export.bundles.contents import Contents


def files(contents: Contents) -> dict[str, str]:
    """Path to text."""
    example = "examples/replay"
    return {
        **contents.code(sources="src", headers="include"),
        **contents.readme("platformio"),
        "library.json": json.dumps(_manifest(contents), indent=2) + "\n",
        f"{example}/platformio.ini": contents.render("platformio/platformio.ini"),
        f"{example}/src/main.cpp": contents.example("platformio"),
    }


def _manifest(contents: Contents) -> dict[str, Any]:
    slug = contents.name.strip("_").replace("_", "-")  # of letters, digits and single dashes
    while "--" in slug:
        slug = slug.replace("--", "-")
    return {
        "$schema": "https://raw.githubusercontent.com/platformio/platformio-core/develop/platformio/assets/schema/"
        "library.json",
        "name": slug,
        "version": __version__,
        "description": f"{contents.model.title}, as integer C99 without heap or floating point.",
        "keywords": ["machine-learning", "lstm", "tinyml"],
        "authors": [{"name": f"edge-lstm {__version__}, which generated it"}],
        "frameworks": "*",
        "platforms": "*",
        "headers": f"{contents.name}.h",
        "examples": [{"name": "replay", "base": "examples/replay", "files": ["platformio.ini", "src/main.cpp"]}],
    }
