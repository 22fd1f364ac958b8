"""What the header of the generated C promises beside the steps: sizes, versions, whole windows, independence."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_programs import C_COMPILERS, CPP_COMPILERS, WARNINGS, compiled, compiler_run, run, write

from edge_lstm.export import c99, c99_selftest
from edge_lstm.export.c99_normalize import normalization
from edge_lstm.firmware_sim.toolchain import compile_host
from edge_lstm.model import QuantizedModel
from edge_lstm.runtime import execute

Make = Callable[..., QuantizedModel]

# Runs a window of so many steps; prints what came back and the outputs, of which one more is there than is used.
MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "m.h"

int main(int n, char **arguments)
{
    static m_state state, untouched;
    static m_scratch scratch;
    static m_output output[M_STEPS + 1];
    static int8_t x[(M_STEPS + 1) * M_CHANNELS];
    int32_t steps = n > 1 ? (int32_t)strtol(arguments[1], NULL, 10) : M_STEPS;
    int code;
    if (fread(x, 1, sizeof x, stdin) > sizeof x) return 2;
    memset(&state, 77, sizeof state);
    memset(&untouched, 77, sizeof state);
    memset(output, 0, sizeof output);
    code = m_run(&state, &scratch, x, steps, output);
    if (code != 0) return code == M_ERROR_STEPS && memcmp(&state, &untouched, sizeof state) == 0 ? 9 : 3;
    return fwrite(output, sizeof output, 1, stdout) == 1 ? 0 : 4;
}
"""


def program_of(model: QuantizedModel, folder: Path) -> Path:
    return compile_host(write({**c99.sources(model), "main.c": MAIN}, folder), folder / "main", sanitize=True)


def ran(program: Path, x: np.ndarray, steps: int) -> Any:
    feed = x.astype(np.int8).tobytes()
    return subprocess.run([program, str(steps)], input=feed, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("pooling", "accepted", "refused"), [("last", (1, 5, 12), (-1, 0, 13, 2**31 - 1)), ("mean", (12,), (0, 11, 13))]
)
def test_run_takes_a_whole_window(
    pooling: str, accepted: tuple[int, ...], refused: tuple[int, ...], make_quantized: Make, tmp_path: Path
) -> None:
    model = make_quantized("f=hard", hidden=4, inputs=2, pooling=pooling)
    program = program_of(model, tmp_path)
    x = np.random.default_rng(0).integers(-127, 128, (12, 2)).astype(np.int32)
    for steps in accepted:
        wanted = execute(model, x[None, :steps]).outputs
        found = np.frombuffer(ran(program, x, steps).stdout, "<i4")
        assert found[:5].tolist() == [*wanted["scores"][0].tolist(), *wanted["class_index"][0].tolist()]
        assert not found[5:].any()
    for steps in refused:
        assert ran(program, x, steps).returncode == 9, steps


def test_run_gives_an_output_for_each_step(make_quantized_form: Make, tmp_path: Path) -> None:
    model = make_quantized_form("each")
    x = np.random.default_rng(0).integers(-127, 128, (12, 3)).astype(np.int32)
    found = np.frombuffer(ran(program_of(model, tmp_path), x, 7).stdout, "<i4").reshape(13, 5)
    assert np.array_equal(found[:7, :4], execute(model, x[None, :7]).outputs["scores"][0])
    assert not found[7:].any()


def test_two_instances_do_not_disturb_each_other(make_quantized: Make, tmp_path: Path) -> None:
    model = make_quantized("f=hard", hidden=4, inputs=2, layers=2)
    main = """
#include <stdio.h>
#include "m.h"

int main(void)
{
    static m_state state[2];
    static m_scratch scratch[2];
    static m_output output[2];
    int8_t x[2][M_CHANNELS];
    int k;
    for (k = 0; k < 2; k++) m_reset(&state[k]);
    while (fread(x, sizeof x, 1, stdin) == 1) {
        for (k = 0; k < 2; k++) m_step(&state[k], &scratch[k], x[k]);
    }
    for (k = 0; k < 2; k++) m_result(&state[k], &scratch[k], &output[k]);
    for (k = 0; k < 2; k++) fwrite(output[k].scores, sizeof output[k].scores, 1, stdout);
    return 0;
}
"""
    x = np.random.default_rng(0).integers(-127, 128, (2, 12, 2)).astype(np.int32)
    program = compile_host(write({**c99.sources(model), "main.c": main}, tmp_path), tmp_path / "main")
    done = run(program, x.transpose(1, 0, 2).astype(np.int8).tobytes())
    assert np.array_equal(np.frombuffer(done.stdout, "<i4").reshape(2, 4), execute(model, x).outputs["scores"])


def refused(texts: dict[str, str], folder: Path) -> str:
    """What gcc says of the model's C, which it must not compile."""
    write(texts, folder)
    done = compiler_run(C_COMPILERS["gcc"], "-std=c99", "-c", folder / "m.c", "-o", folder / "m.o")
    assert done.returncode != 0
    return done.stderr


def test_source_and_header_of_different_exports_do_not_compile(
    make_quantized: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (c99.sources(make_quantized("hard", hidden=3, seed=seed)) for seed in (1, 2))
    message = '#error "m.c and m.h are of different exports"'
    assert message in refused({"m.c": one["m.c"], "m.h": other["m.h"]}, tmp_path)
    monkeypatch.setattr(c99, "__version__", "0.2.10")
    newer = c99.sources(make_quantized("hard", hidden=3, seed=1))
    assert "#define M_GENERATOR 210u " in newer["m.h"]
    assert message in refused({"m.c": one["m.c"], "m.h": newer["m.h"]}, tmp_path)


@pytest.mark.parametrize("what", ["STATE", "SCRATCH"])
def test_sizes_are_macros_that_the_compiler_checks(what: str, make_quantized: Make, tmp_path: Path) -> None:
    model = make_quantized("hard", hidden=3)
    texts = c99.sources(model)
    assert f"#define M_STATE_BYTES {c99.memory(model)['state']} " in texts["m.h"]
    smaller = re.sub(rf"(M_{what}_BYTES) (\d+)", lambda m: f"{m[1]} {int(m[2]) - 1}", texts["m.h"])
    assert f"m_{what.lower()}_fits" in refused({**texts, "m.h": smaller}, tmp_path)


def test_a_score_is_worth_what_the_macros_say(make_quantized: Make) -> None:
    for scale in (0.5, 1.0, 3.78e-7, 123.456, 2 / 3):
        model = replace(make_quantized("hard", hidden=2), score_scale=scale)
        header = c99.sources(model)["m.h"]
        multiplier, shift = (int(re.search(rf"M_SCORE_{name} (-?\d+)", header)[1]) for name in ("MULTIPLIER", "SHIFT"))  # type: ignore[index]
        assert 2**23 <= multiplier <= 2**24
        assert multiplier * 2.0**-shift == pytest.approx(scale, rel=2**-24)


@pytest.mark.parametrize("compiler", CPP_COMPILERS)
@pytest.mark.parametrize("chosen", ["softmax", "bidirectional each"])
def test_every_header_is_also_cpp(chosen: str, compiler: str, make_quantized_form: Make, tmp_path: Path) -> None:
    model = make_quantized_form(chosen)
    found = normalization(model, [0.003])
    write({**c99.sources(model, normalization=found), **c99_selftest.sources(model, normalization=found)}, tmp_path)
    user = tmp_path / "user.cpp"
    user.write_text(
        '#include "m_selftest.h"\n#include "m.h"\n#include "m_selftest.h"\n'
        "static int16_t raw[M_CHANNELS];\nstatic int8_t x[M_CHANNELS];\n"
        "int main() { m_normalize(raw, x); return m_selftest(); }\n"
    )
    command = [*CPP_COMPILERS[compiler], "-std=c++11", *WARNINGS]
    compiled(command, "-c", user, "-o", tmp_path / "user.o")
