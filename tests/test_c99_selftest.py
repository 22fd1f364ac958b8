"""The self-test of the generated C passes where the code is right, and says what differs where it is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from c_programs import C_COMPILERS, WARNINGS, compiled, run, write

from edge_lstm.errors import EdgeLstmError
from edge_lstm.export import c99, c99_selftest
from edge_lstm.export.c99_normalize import normalization
from edge_lstm.firmware_sim.cores import CORES
from edge_lstm.firmware_sim.emulator import Machine
from edge_lstm.firmware_sim.toolchain import compile_device, compile_host
from edge_lstm.model import QuantizedModel

Make = Callable[..., QuantizedModel]
FORMS = ("initial", "each softmax", "variable mean", "bidirectional", "bidirectional each", "decoder stack")
MAIN = '#include "m_selftest.h"\nint main(void) { return m_selftest(); }\n'


def texts_of(model: QuantizedModel, *, raw: bool = True, window: np.ndarray | None = None) -> dict[str, str]:
    found = normalization(model, [0.003]) if raw else None
    selftest = c99_selftest.sources(model, window=window, normalization=found)
    return {**c99.sources(model, normalization=found), **selftest, "main.c": MAIN}


def code_of(texts: dict[str, str], folder: Path) -> int:
    return run(compile_host(write(texts, folder), folder / "main", sanitize=True)).returncode


@pytest.fixture(scope="module")
def model(make_quantized: Make) -> QuantizedModel:
    return make_quantized("i=hard,o=hard", hidden=5, inputs=3, pooling="mean")


@pytest.mark.parametrize("chosen", FORMS)
def test_it_passes_for_every_kind_of_model(chosen: str, make_quantized_form: Make, tmp_path: Path) -> None:
    assert code_of(texts_of(make_quantized_form(chosen, "hard")), tmp_path) == 0


@pytest.mark.parametrize("compiler", C_COMPILERS)
@pytest.mark.parametrize("chosen", ["each", "bidirectional each", "softmax"])
def test_it_compiles_without_a_warning(chosen: str, compiler: str, make_quantized_form: Make, tmp_path: Path) -> None:
    sources = write(texts_of(make_quantized_form(chosen)), tmp_path)
    compiled([*C_COMPILERS[compiler], "-std=c99", *WARNINGS, "-O2"], *sources, "-o", tmp_path / "main")


@pytest.mark.parametrize("core", CORES)
def test_it_passes_on_emulated_cores(core: str, model: QuantizedModel, tmp_path: Path) -> None:
    sources = [path for path in write(texts_of(model), tmp_path) if path.name != "main.c"]
    image = compile_device(
        CORES[core], sources, tmp_path / "m.elf", include_dirs=[tmp_path], entry_points=["m_selftest"]
    )
    assert Machine(CORES[core], image).call("m_selftest") == 0


def test_a_window_is_given_or_made_up(model: QuantizedModel, tmp_path: Path) -> None:
    golden = c99_selftest.golden_window(model)
    assert golden.shape == (12, 3)
    assert {-127, 0, 127} <= set(golden.ravel().tolist())
    assert (golden == c99_selftest.golden_window(model)).all()
    assert texts_of(model) == texts_of(model)
    window = np.arange(36, dtype=np.int32).reshape(12, 3)
    texts = texts_of(model, window=window)
    assert re.search(r"window\[WINDOW_STEPS \* M_CHANNELS\] = \{\s+0, 1, 2, 3,", texts["m_selftest.c"])
    assert code_of(texts, tmp_path) == 0
    with pytest.raises(EdgeLstmError, match="a window of 5 steps; the self-test of m takes 12"):
        texts_of(model, window=window[:5])


def test_a_long_window_is_cut_where_the_model_takes_shorter_ones(make_quantized: Make) -> None:
    model = make_quantized("hard", hidden=2, inputs=1, steps=300)
    assert len(c99_selftest.golden_window(model)) == 32
    assert "#define WINDOW_STEPS 32\n" in texts_of(model, window=np.zeros((300, 1), np.int32))["m_selftest.c"]


def changed(text: str, pattern: str, by: str) -> str:
    """With one place of it replaced."""
    found, count = re.subn(pattern, by, text, count=1)
    assert count == 1, pattern
    assert found != text
    return found


FAULTS = {  # file, what is replaced, by what, code
    "steps": ("m_selftest.c", r"window, WINDOW_STEPS, output", "window, WINDOW_STEPS + 1, output", 1),
    "score": ("m_selftest.c", r"(expected_scores\[RESULTS \* 4\] = \{\s+)-?\d+", r"\g<1>77", 2),
    "class": ("m_selftest.c", r"(expected_class_index\[RESULTS \* 1\] = \{\s+)\d+", r"\g<1>9", 2),
    "state": ("m_selftest.c", r"(state_checksum\[4\] = \{)\d+", r"\g<1>256 - 256 + 1", 3),
    "checksum": ("m.c", r"return M_ERROR_CHECKSUM;", ";", 4),
    "restore": ("m.c", r"(int m_restore[^{]+\{)", r"\1 return M_ERROR_MODEL;", 4),
    "normalize": ("m.c", r"(shift\[M_CHANNELS\] = \{)", r"\g<1>1 + ", 5),
    "weight": ("m.c", r"(m_dense_d\[4\] = \{\s+)", r"\g<1>1 + ", 2),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_it_says_what_differs(fault: str, model: QuantizedModel, tmp_path: Path) -> None:
    file, pattern, by, code = FAULTS[fault]
    texts = texts_of(model)
    texts[file] = changed(texts[file], pattern, by)
    assert code_of(texts, tmp_path) == code
    names = ("RUN", "OUTPUTS", "STATE", "RESTORE", "NORMALIZE")
    assert f"#define M_SELFTEST_{names[code - 1]} {code} " in texts["m_selftest.h"]


def test_of_another_export_it_does_not_compile(model: QuantizedModel, make_quantized: Make, tmp_path: Path) -> None:
    other = make_quantized("i=hard,o=hard", hidden=5, inputs=3, pooling="mean", seed=8)
    texts = texts_of(model, raw=False) | c99.sources(other)
    with pytest.raises(EdgeLstmError, match=r"m_selftest\.c and m\.h are of different exports"):
        code_of(texts, tmp_path)
