"""A Zephyr module, with a sample that Twister can run."""

from __future__ import annotations

from edge_lstm.export.bundles.contents import Contents


def files(contents: Contents) -> dict[str, str]:
    """Path to text."""
    sample = "samples/replay"
    return {
        **contents.code(sources="src", headers="include"),
        **contents.readme("zephyr"),
        "zephyr/module.yml": contents.render("zephyr/module.yml"),
        "CMakeLists.txt": contents.render("zephyr/CMakeLists.txt"),
        "Kconfig": contents.render("zephyr/Kconfig"),
        f"{sample}/CMakeLists.txt": contents.render("zephyr/sample_CMakeLists.txt"),
        f"{sample}/prj.conf": contents.render("zephyr/prj.conf"),
        f"{sample}/testcase.yaml": contents.render("zephyr/testcase.yaml"),
        f"{sample}/src/main.c": contents.example("zephyr"),
    }
