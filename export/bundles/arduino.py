"""An Arduino library, of the format of the IDE 1.5 and later."""

from __future__ import annotations

from edge_lstm.export.bundles.contents import Contents


def files(contents: Contents) -> dict[str, str]:
    """Path to text."""
    name = contents.name
    return {
        **contents.code(sources="src", headers="src"),
        **contents.readme("arduino"),
        "library.properties": contents.render("arduino/library.properties"),
        "keywords.txt": contents.render("arduino/keywords.txt"),
        f"examples/{name}/{name}.ino": contents.example("arduino"),
    }
