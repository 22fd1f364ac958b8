"""The exported C99: what it promises of itself, checked by compilers, sanitizers and a decoder of instructions."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.errors import EdgeLstmError
from edge_lstm.export import c99
from edge_lstm.firmware_sim import host
from edge_lstm.firmware_sim.cores import CORES
from edge_lstm.firmware_sim.elf import Image
from edge_lstm.firmware_sim.generated import write_sources
from edge_lstm.firmware_sim.isa import forbidden_instructions
from edge_lstm.firmware_sim.toolchain import compile_device
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.ptq import quantize
from edge_lstm.runtime import execute

Make = Callable[..., QuantizedModel]
ZIG = [sys.executable, "-m", "ziglang"]
WARNINGS = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow"]
C_COMPILERS = {"zig": [*ZIG, "cc"], "gcc": ["gcc"]}
CPP_COMPILERS = {"zig": [*ZIG, "c++"], "g++": ["g++"]}

# gates, layers, pooling, hidden, inputs, steps: together they use every piece of the templates.
MODELS: dict[str, tuple[str, int, str, int, int, int]] = {
    "soft": ("soft", 1, "last", 5, 3, 7),
    "hard": ("hard", 2, "mean", 4, 1, 6),
    "mixed": ("i=hard,o=hard", 2, "mean", 1, 2, 300),
    "forget": ("f=hard", 1, "last", 17, 5, 3),
}


def model_of(name: str, make_quantized: Make) -> QuantizedModel:
    gates, layers, pooling, hidden, inputs, steps = MODELS[name]
    options: dict[str, Any] = {"layers": layers, "pooling": pooling, "hidden": hidden, "inputs": inputs, "steps": steps}
    return make_quantized(gates, seed=9, **options)


def example_of(model: QuantizedModel) -> dict[str, str]:
    channels = len(model.signature.channels)
    window = np.random.default_rng(0).integers(-127, 128, (model.signature.steps, channels)).astype(np.int32)
    return c99.example(model, window, execute(model, window[None]).outputs["scores"][0])


def write(texts: dict[str, str], folder: Path) -> list[Path]:
    """Write files; the paths of the C sources among them."""
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts if name.endswith(".c")]


def compiled(compilers: dict[str, list[str]], name: str, *arguments: str | Path) -> None:
    command = compilers[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def run(program: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program], capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("compiler", C_COMPILERS)
@pytest.mark.parametrize("name", MODELS)
def test_it_compiles_without_a_warning(name: str, compiler: str, make_quantized: Make, tmp_path: Path) -> None:
    model = model_of(name, make_quantized)
    sources = write({**c99.sources(model), **example_of(model)}, tmp_path)
    for number, source in enumerate(sources):
        compiled(C_COMPILERS, compiler, "-std=c99", *WARNINGS, "-O2", "-c", source, "-o", tmp_path / f"{number}.o")


@pytest.mark.parametrize("compiler", CPP_COMPILERS)
def test_its_header_is_also_cpp(compiler: str, make_quantized: Make, tmp_path: Path) -> None:
    write(c99.sources(model_of("hard", make_quantized)), tmp_path)
    source = tmp_path / "user.cpp"
    source.write_text(
        '#include "m.h"\n#include "m.h"\n'
        "int8_t x[M_CHANNELS];\nm_state state;\nm_scratch scratch;\nm_output output;\n"
        "int main() { m_reset(&state); m_step(&state, &scratch, x); m_result(&state, &scratch, &output); return 0; }\n"
    )
    compiled(CPP_COMPILERS, compiler, "-std=c++11", *WARNINGS, "-c", source, "-o", tmp_path / "user.o")


@pytest.mark.parametrize("optimize", ["-O0", "-O2"])
@pytest.mark.parametrize("name", ["hard", "soft"])
def test_sanitizers_find_nothing_at_any_optimization(
    name: str, optimize: str, make_quantized: Make, make_windows: Any
) -> None:
    model = model_of(name, make_quantized)
    x = make_windows(model, 9)
    found, wanted = host.execute(model, x, optimize=optimize, sanitize=True), execute(model, x)
    for part in ("outputs", "state"):
        for value, integers in getattr(wanted, part).items():
            assert np.array_equal(getattr(found, part)[value], integers), value


def without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("name", MODELS)
def test_it_names_no_float_no_64_bit_type_and_no_heap(name: str, make_quantized: Make) -> None:
    text = "".join(map(without_comments, c99.sources(model_of(name, make_quantized)).values()))
    words = set(re.findall(r"[A-Za-z_]\w*", text))
    banned = {
        "double",
        "float",
        "long",
        "int64_t",
        "uint64_t",
        "malloc",
        "calloc",
        "realloc",
        "free",
        "memcpy",
        "memset",
    }
    assert words & banned == set()
    assert set(re.findall(r"#include (\S+)", text)) == {'"m.h"', "<stdint.h>"}
    code = re.sub(r'"[^"\n]*"', '""', text)  # assembly has its own use of %
    assert not re.search(r"\d\.\d|\d[eE][-+\d]|[^=!<>]/|%", code)  # no float constant, no division, no remainder


@pytest.mark.parametrize("optimize", ["-O0", "-Os", "-O2"])
@pytest.mark.parametrize("core", CORES)
def test_its_machine_code_needs_nothing_that_the_core_lacks(
    core: str, optimize: str, make_quantized: Make, tmp_path: Path
) -> None:
    """Linked without any run-time library: a 64-bit product or a division would not even link on a Cortex-M0+."""
    model = model_of("mixed", make_quantized)
    sources = write(c99.sources(model), tmp_path)
    entries = ["m_reset", "m_step", "m_result", "m_save", "m_restore"]
    image = compile_device(
        CORES[core], sources, tmp_path / "m.elf", include_dirs=[tmp_path], entry_points=entries, optimize=optimize
    )
    found = Image.read(image)
    assert set(entries) <= {s.name for s in found.symbols}
    assert forbidden_instructions(found, CORES[core]) == []


def test_the_example_prints_the_class_and_succeeds(make_quantized: Make, tmp_path: Path) -> None:
    model = model_of("soft", make_quantized)
    sources = write({**c99.sources(model), **example_of(model)}, tmp_path)
    window = np.random.default_rng(0).integers(-127, 128, (7, 3)).astype(np.int32)
    index = int(execute(model, window[None]).outputs["class_index"][0, 0])
    compiled(C_COMPILERS, "zig", "-std=c99", *sources, "-o", tmp_path / "example")
    done = run(tmp_path / "example")
    assert (done.returncode, done.stdout.decode()) == (0, f"class {index} (class{index}): scores as on the desktop\n")


STORAGE: list[dict[str, Any]] = [
    {"activation_bits": 16},
    {"weight_bits": 4},
    {"weight_bits": 2, "activation_bits": 16, "activations": "lut-interp"},
]


@pytest.mark.parametrize("storage", STORAGE, ids=lambda s: "-".join(map(str, s.values())))
def test_wide_inputs_and_packed_weights_compile_without_a_warning_and_replay(
    storage: dict[str, Any], make_float_model: Callable[..., FloatModel], tmp_path: Path
) -> None:
    calibration = np.random.default_rng(1).normal(0, 1, (8, 12, 3))
    model = quantize(make_float_model("i=hard", hidden=5, inputs=3, layers=2), calibration=calibration, **storage)
    limit = 2 ** (storage.get("activation_bits", 8) - 1) - 1
    window = np.random.default_rng(0).integers(-limit, limit + 1, (9, 3)).astype(np.int32)
    window[:2] = [[limit], [-limit]]
    texts = {**c99.sources(model), **c99.example(model, window, execute(model, window[None]).outputs["scores"][0])}
    assert f"-{limit} <= q <= {limit}" in texts["m.h"]
    if "weight_bits" in storage:
        assert f"m_dot{storage['weight_bits']}_s16(" in texts["m.c"]  # inputs of 16 bits, or of 8 with a gain
    sources = write(texts, tmp_path)
    compiled(C_COMPILERS, "zig", "-std=c99", *WARNINGS, "-O2", *sources, "-o", tmp_path / "example")
    assert run(tmp_path / "example").returncode == 0


def test_the_example_fails_when_a_score_differs(make_quantized: Make, tmp_path: Path) -> None:
    model = model_of("soft", make_quantized)
    window = np.zeros((7, 3), np.int32)
    scores = execute(model, window[None]).outputs["scores"][0] + np.array([0, 0, 0, 1], np.int32)
    sources = write({**c99.sources(model), **c99.example(model, window, scores)}, tmp_path)
    compiled(C_COMPILERS, "zig", "-std=c99", *sources, "-o", tmp_path / "example")
    done = run(tmp_path / "example")
    assert done.returncode == 1
    assert done.stdout.decode().endswith(": WRONG SCORES\n")


@pytest.mark.parametrize("name", MODELS)
def test_memory_is_what_the_compilers_take(name: str, make_quantized: Make, tmp_path: Path) -> None:
    model = model_of(name, make_quantized)
    write(c99.sources(model), tmp_path)
    source = tmp_path / "sizes.c"
    for core in (None, CORES["cortex-m0plus"], CORES["cortex-m3"], CORES["cortex-m4"]):
        sizes = c99.memory(model, core and core.kernels)
        checks = "".join(f"typedef char check_{k}[sizeof(m_{k}) == {v} ? 1 : -1];\n" for k, v in sizes.items())
        memory = "m_state the_state = {0};\nm_scratch the_scratch = {0};\n"
        source.write_text(f'#include "m.h"\n{checks}{memory}int f(void);\nint f(void) {{ return 1; }}\n')
        if core is None:
            compiled(C_COMPILERS, "zig", "-std=c99", "-c", source, "-o", tmp_path / "sizes.o")
            continue
        image = compile_device(core, [source], tmp_path / "sizes.elf", entry_points=["f", "the_state", "the_scratch"])
        found = {s.name: s.size for s in Image.read(image).symbols}
        assert {k: found[f"the_{k}"] for k in sizes} == sizes


def test_symbols_are_sorted_into_weights_tables_and_code(make_quantized: Make) -> None:
    model = model_of("mixed", make_quantized)
    kinds = {
        "m_lstm0_W_i": "weights",
        "m_lstm1_b_g": "weights",
        "m_dense_D": "weights",
        "m_lstm0_f_multiplier": "weights",
        "m_lstm0_sigmoid": "tables",
        "m_lstm1_tanh_c.17": "tables",
        "m_step": "code",
        "m_tag": "code",
        "other": "code",
    }
    assert {symbol: c99.symbol_category(model, symbol) for symbol in kinds} == kinds


def test_the_same_model_gives_the_same_text(make_quantized: Make) -> None:
    assert c99.sources(model_of("mixed", make_quantized)) == c99.sources(model_of("mixed", make_quantized))


# --- text of users ---------------------------------------------------------------------------------

NAMES = (
    'quote " quote',
    'a"); exit(7); ("',
    "back\\slash\\",
    "end */ int injected = 1.5; /*",
    "**//*/ int injected = 1.5; /*",
    "trigraph *??/ ??/",
    "percent %s %n",
    "Gehen: ü, 歩く, 🚶",
    "digit after ü7",
    "?" * 9 + "/" * 5 + "*" * 5,
)


def named(model: QuantizedModel, names: tuple[str, ...]) -> QuantizedModel:
    signature = replace(model.signature, classes=names, channels=names[: len(model.signature.channels)])
    return replace(model, signature=replace(signature, units=names[-len(signature.channels) :]))


@pytest.mark.parametrize("compiler", C_COMPILERS)
def test_names_cannot_break_or_inject_c(compiler: str, make_quantized: Make, tmp_path: Path) -> None:
    """Trigraphs are on in C99. Every class is printed as it is."""
    count = len(NAMES)
    model = named(make_quantized("hard", hidden=2, inputs=count, classes=count, steps=3), NAMES)
    printer = (
        "#include <stdio.h>\nint main(void)\n{\n    int k;\n"
        "    for (k = 0; k < M_CLASSES; k++) fwrite(classes[k], 1, sizes[k], stdout);\n    return 0;\n}\n"
    )
    (text,) = example_of(model).values()
    literals = text[text.index("static const char *const classes") :].partition("\n")[0]
    sizes = f"static const unsigned sizes[] = {{ {', '.join(str(len(n.encode())) for n in NAMES)} }};"
    texts = {**c99.sources(model), "m_example.c": text, "print.c": f'#include "m.h"\n{literals}\n{sizes}\n{printer}'}
    sources = write(texts, tmp_path)
    for source in sources[:2]:
        compiled(C_COMPILERS, compiler, "-std=c99", *WARNINGS, "-c", source, "-o", tmp_path / "m.o")
    write(c99.sources(model), tmp_path)
    compiled(C_COMPILERS, compiler, "-std=c99", sources[2], "-o", tmp_path / "print")
    assert run(tmp_path / "print").stdout == b"".join(n.encode() for n in NAMES)
    compiled(C_COMPILERS, compiler, "-std=c99", *sources[:2], "-o", tmp_path / "example")
    assert run(tmp_path / "example").returncode == 0


def test_plain_names_stand_in_the_header_as_they_are(make_quantized: Make) -> None:
    model = named(make_quantized("hard", hidden=2, inputs=2, classes=2), ("Gehen: ü", "m/s^2"))
    header = c99.sources(model)["m.h"]
    assert " 0 Gehen: ü, 1 m/s^2." in header
    assert "x[0]  Gehen: ü: offset" in header


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("time", "time.h is a header of C's standard library"),
        ("stdint", "stdint.h is a header of C's standard library"),
        ("harness", "harness.c is a file of edge-lstm's own"),
    ],
)
def test_a_name_that_is_a_file_of_c_is_refused(name: str, reason: str, make_quantized: Make) -> None:
    with pytest.raises(EdgeLstmError) as error:
        c99.sources(make_quantized("hard", hidden=2, inputs=1, name=name))
    assert str(error.value) == f"a model can't be called {name!r} in C: {reason}"


@pytest.mark.parametrize(
    "name", ["int", "m_m", "j", "state", "trace", "pool", "lstm0", "unused", "main", "unistd", "x"]
)
def test_any_other_name_will_do(name: str, make_quantized: Make, make_windows: Any, tmp_path: Path) -> None:
    model = make_quantized("i=hard", hidden=2, inputs=1, pooling="mean", name=name)
    x = make_windows(model, 3)
    assert np.array_equal(host.execute(model, x, trace="all").outputs["scores"], execute(model, x).outputs["scores"])
    sources = write_sources(model, "none", tmp_path)
    assert {f"{name}.c", f"{name}.h", "harness.c", "host_main.c"} == set(sources)
