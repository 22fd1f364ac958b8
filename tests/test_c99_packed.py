"""Weights of 4 and 2 bits in the generated C: their layout, their bytes, and products by every compiler at hand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.export import c99
from edge_lstm.export.c99_body import BodyWriter
from edge_lstm.export.c99_ops import Vector
from edge_lstm.firmware_sim.cores import CORES
from edge_lstm.firmware_sim.elf import Image
from edge_lstm.firmware_sim.isa import forbidden_instructions
from edge_lstm.firmware_sim.toolchain import compile_device, compile_host
from edge_lstm.ops import NUMPY, Op
from edge_lstm.program import Executor, Port, Program, ProgramBuilder, RangeError, constant_bits, constant_bytes

COLUMNS = (1, 2, 3, 4, 5, 7, 31)
BATCH = 40
WARNINGS = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow"]
C_COMPILERS = {"zig": [sys.executable, "-m", "ziglang", "cc"], "gcc": ["gcc"]}


def program(v_bits: int, *weight_bits: int) -> Program:
    """Random matrices of every number of columns; then an interpolation of the first product, limited."""
    rng, builder = np.random.default_rng(v_bits), ProgramBuilder()
    reach = 2 ** (min(v_bits, 20) - 1)
    ports = tuple(Port(f"v{n}", n, -reach, reach - 1) for n in COLUMNS)
    made = []
    for bits in weight_bits:
        limit = 2 ** (bits - 1) - 1
        for n in COLUMNS:
            weights = rng.integers(-limit, limit + 1, (6, n))
            weights[:2] = [[-limit], [limit]]
            names = {
                "weights": builder.constant(f"W{bits}_{n}", weights),
                "bias": builder.constant(f"b{bits}_{n}", rng.integers(-999, 999, 6)),
            }
            made.append(builder.emit(Op.MATVEC, f"a{bits}_{n}", f"v{n}", **names, bits=bits))
    index = builder.emit(Op.SATURATE, "index", made[0], lo=-512, hi=507)
    table = builder.constant("table", rng.integers(-999, 999, 256))
    made.append(builder.emit(Op.LUT_INTERP, "curve", index, table=table, lo=-128, n=2))
    return Program("p", ports, (), tuple(made), builder.constants, tuple(builder.instructions))


def c_function(p: Program) -> str:
    """Constants, helpers and ``m_step(v.., results..)``."""
    places = {port.name: Vector(port.name, port.length, port.bits) for port in p.inputs}
    places |= {name: Vector(f"out_{name}", p.length(name), 32) for name in p.outputs}
    body = BodyWriter(p, "m", places).write()
    assert not body.scratch
    constants = "".join(
        f"static const {k['type']} {k['name']}{k['shape']} = {{{k['text']}}};\n" for k in c99._constants("m", [p])
    )
    helpers = c99.render("helpers.c.j2", {"name": "m", "uses": lambda h: any(f"m_{h}(" in line for line in body.lines)})
    lines = "".join(f"    {line}\n" for line in body.lines)
    return (
        f"#include <stdint.h>\n{constants}{helpers}\n{signature(p)};\n{signature(p)}\n{{\n    int32_t j;\n{lines}}}\n"
    )


def signature(p: Program) -> str:
    given = [f"const int{port.bits}_t *{port.name}" for port in p.inputs]
    return f"void m_step({', '.join([*given, *(f'int32_t *out_{name}' for name in p.outputs)])})"


def c_main(p: Program) -> str:
    """Reads all inputs and writes all outputs, BATCH times."""
    arrays = [f"static int{port.bits}_t {port.name}[{port.length}];" for port in p.inputs]
    arrays += [f"static int32_t out_{name}[{p.length(name)}];" for name in p.outputs]
    reads = [f"if (fread({v.name}, sizeof {v.name}, 1, stdin) != 1) return 2;" for v in p.inputs]
    puts = [f"if (fwrite(out_{n}, sizeof out_{n}, 1, stdout) != 1) return 3;" for n in p.outputs]
    call = f"m_step({', '.join([*(v.name for v in p.inputs), *(f'out_{n}' for n in p.outputs)])});"
    loop = "\n".join([*reads, call, *puts])
    declared = "\n".join(arrays)
    body = f"int b;\nfor (b = 0; b < {BATCH}; b++) {{\n{loop}\n}}\nreturn 0;"
    return f"#include <stdio.h>\n{declared}\nint main(void)\n{{\n{body}\n}}\n"


def differing(p: Program, folder: Path, *, sanitize: bool) -> set[str]:
    """Outputs of which the C computes another integer than NumPy."""
    rng = np.random.default_rng(1)
    values = {v.name: rng.integers(v.lo, v.hi + 1, (BATCH, v.length)).astype(np.int32) for v in p.inputs}
    for v in p.inputs:
        values[v.name][:2] = [[v.lo], [v.hi]]
    source = folder / "p.c"
    source.write_text(c_function(p) + c_main(p))
    binary = compile_host([source], folder / "p", sanitize=sanitize)
    feed = b"".join(values[v.name][b].astype(f"i{v.bits // 8}").tobytes() for b in range(BATCH) for v in p.inputs)
    done = subprocess.run([binary], input=feed, capture_output=True, timeout=60, check=True)
    ends = np.cumsum([p.length(n) for n in p.outputs])
    found = np.split(np.frombuffer(done.stdout, np.int32).reshape(BATCH, -1), ends[:-1], axis=1)
    wanted = Executor(p, NUMPY)(dict(values))
    return {n for n, f in zip(p.outputs, found, strict=True) if not np.array_equal(f, wanted[n])}


@pytest.mark.parametrize("sanitize", [False, True], ids=["plain", "sanitized"])
@pytest.mark.parametrize("v_bits", [8, 16, 32])
def test_products_are_those_of_numpy(v_bits: int, sanitize: bool, tmp_path: Path) -> None:
    assert differing(program(v_bits, 8, 4, 2), tmp_path, sanitize=sanitize) == set()


def test_another_order_in_the_byte_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = c99.packed
    monkeypatch.setattr(c99, "packed", lambda w, bits: right(w, bits) % 16 * 16 + right(w, bits) // 16)
    assert {f"a{bits}_{n}" for bits in (4, 2) for n in COLUMNS} <= differing(
        program(8, 8, 4, 2), tmp_path, sanitize=False
    )


@pytest.mark.parametrize("compiler", C_COMPILERS)
@pytest.mark.parametrize("v_bits", [8, 16, 32])
def test_it_compiles_without_a_warning(v_bits: int, compiler: str, tmp_path: Path) -> None:
    command = C_COMPILERS[compiler]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{compiler} is not installed")
    source = tmp_path / "p.c"
    source.write_text(c_function(program(v_bits, 8, 4, 2)))
    arguments = ["-std=c99", *WARNINGS, "-O2", "-c", str(source), "-o", str(tmp_path / "p.o")]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("optimize", ["-Os", "-O2"])
@pytest.mark.parametrize("core", CORES)
def test_a_core_needs_no_library_and_holds_the_bytes_that_are_counted(core: str, optimize: str, tmp_path: Path) -> None:
    p = program(16, 8, 4, 2)
    source = tmp_path / "p.c"
    source.write_text(c_function(p))
    elf = compile_device(CORES[core], [source], tmp_path / "p.elf", entry_points=["m_step"], optimize=optimize)
    image = Image.read(elf)
    assert forbidden_instructions(image, CORES[core]) == []
    sizes = {s.name.partition(".")[0]: s.size for s in image.symbols}
    found = {k: sizes[f"m_{k}"] for k in p.constants if f"m_{k}" in sizes}
    assert set(found) >= {f"W{bits}_{n}" for bits in (8, 4, 2) for n in COLUMNS if n > 1}
    assert found == {k: constant_bytes(p, k) for k in found}


def test_only_the_helpers_that_are_used_are_there() -> None:
    helpers = lambda p: set(re.findall(r"^static int32_t m_(\w+)\(", c_function(p), re.MULTILINE))  # noqa: E731
    assert helpers(program(8, 8)) == {"saturate", "interpolate", "dot_s8"}
    assert helpers(program(16, 4, 2)) == {"saturate", "interpolate", "dot4_s16", "dot2_s16"}


@pytest.mark.parametrize(
    ("bits", "weights", "layout"),
    [
        (4, [[1, -1, 7], [-7, 2, 0]], [[0xF1, 0x07], [0x29, 0x00]]),
        (4, [[-1, 3]], [[0x3F]]),
        (2, [[1, -1, 0, 1, -1]], [[0b01_00_11_01, 0b11]]),
        (2, [[0, 0, 0, -1], [1, 0, 0, 0]], [[0b11_00_00_00], [0b01]]),
    ],
)
def test_the_first_weight_has_the_lowest_bits_and_rows_are_padded(
    bits: int, weights: list[list[int]], layout: list[list[int]]
) -> None:
    assert c99.packed(np.array(weights, np.int32), bits).tolist() == layout


@pytest.mark.parametrize(("bits", "row_bytes"), [(8, 5), (4, 3), (2, 2)])
def test_constants_count_as_they_are_stored(bits: int, row_bytes: int) -> None:
    p = product(np.ones((3, 5)), bits)
    assert (constant_bits(p, "W"), constant_bytes(p, "W")) == (bits, 3 * row_bytes)
    assert (constant_bits(p, "b"), constant_bytes(p, "b")) == (16, 6)


def test_weights_without_bits_are_stored_by_their_range() -> None:
    p = product(np.full((3, 5), -128), None)
    assert (constant_bits(p, "W"), constant_bytes(p, "W"), p.packed) == (8, 15, {})


def product(weights: Any, bits: int | None) -> Program:
    builder = ProgramBuilder()
    names = {"weights": builder.constant("W", weights), "bias": builder.constant("b", [300, 0, 0])}
    builder.emit(Op.MATVEC, "a", "x", **names, **({} if bits is None else {"bits": bits}))
    return Program("p", (Port("x", 5, -9, 9),), (), ("a",), builder.constants, tuple(builder.instructions))


@pytest.mark.parametrize("other", [{"bits": 2}, {"bits": 8}, {}])
def test_a_constant_has_one_packing(other: dict[str, int]) -> None:
    builder = ProgramBuilder()
    names = {"weights": builder.constant("W", np.eye(2)), "bias": builder.constant("b", [0, 0])}
    builder.emit(Op.MATVEC, "a", "x", **names, bits=4)
    builder.emit(Op.MATVEC, "c", "x", **names, **other)
    with pytest.raises(RangeError) as error:
        Program("p", (Port("x", 2, -9, 9),), (), ("c",), builder.constants, tuple(builder.instructions))
    assert str(error.value) == f"p: c needs W in {other.get('bits', 8)} bits, and another use of it in 4"
