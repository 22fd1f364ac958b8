"""docs/firmware.md: its commands run, and its C compiles and gives the class."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from c_programs import run, write
from click.testing import CliRunner

from edge_lstm.cli import group
from edge_lstm.export.c99_normalize import normalization
from edge_lstm.firmware_sim.toolchain import compile_host
from edge_lstm.model import QuantizedModel
from edge_lstm.runtime import execute

TEXT = (Path(__file__).parent.parent / "docs" / "firmware.md").read_text()
MAIN = """
#include <stdio.h>
#include "motion_selftest.h"
%s
int main(void)
{
    int16_t raw[MOTION_CHANNELS];
    int32_t found = -1;
    begin();
    while (fread(raw, sizeof raw, 1, stdin) == 1) found = sample(raw);
    printf("%%ld %%d", (long)found, motion_selftest());
    return 0;
}
"""


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) <= 80


def test_its_commands_and_its_c_run(
    make_quantized: Callable[..., QuantizedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_quantized("hard", hidden=5, inputs=2, name="motion")
    model = replace(made, input_scale=np.array([0.02, 0.03]), input_offset=np.array([0.1, -0.2]))
    monkeypatch.chdir(tmp_path)
    model.save("model.elstm")
    for line in block("sh").splitlines():
        done = CliRunner().invoke(group, shlex.split(line)[1:], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert (tmp_path / "module/zephyr/module.yml").is_file()
    code = block("c").replace("void begin", "static void begin").replace("\nint32_t", "\nstatic int32_t")
    write(
        {"main.c": MAIN % code},
        tmp_path / "firmware",
    )
    sources = [tmp_path / "firmware" / name for name in ("motion.c", "motion_selftest.c", "main.c")]
    program = compile_host(sources, tmp_path / "program", include_dirs=[tmp_path / "firmware"])
    raw = np.random.default_rng(0).integers(-6000, 6000, (12, 2)).astype(np.int16)
    x = normalization(model, [0.000598]).apply(raw)
    wanted = int(execute(model, x[None]).outputs["class_index"][0, 0])
    assert run(program, raw.tobytes()).stdout.decode() == f"{wanted} 0"
