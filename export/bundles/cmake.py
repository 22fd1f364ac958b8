"""A CMake package: a library with an installable configuration, and tests."""

from __future__ import annotations

from edge_lstm.export.bundles.contents import Contents


def files(contents: Contents) -> dict[str, str]:
    """Path to text."""
    name = contents.name
    return {
        **contents.code(sources="src", headers="include"),
        **contents.readme("cmake"),
        "CMakeLists.txt": contents.render("cmake/CMakeLists.txt"),
        f"cmake/{name}-config.cmake.in": contents.render("cmake/config.cmake.in"),
        f"example/{name}_example.c": contents.example("stdio"),
        "test/selftest_main.c": contents.render("cmake/selftest_main.c"),
    }
