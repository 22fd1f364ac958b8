"""Instruction counts: equal to hand counts, and equal between the compiled and the Python hook."""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_lstm.errors import EdgeLstmError
from edge_lstm.firmware_sim import emulator, native_counter
from edge_lstm.firmware_sim.cores import CORES
from edge_lstm.firmware_sim.counting import PythonCounter, instruction_count
from edge_lstm.firmware_sim.emulator import Machine
from edge_lstm.firmware_sim.native_counter import NativeCounter
from edge_lstm.firmware_sim.toolchain import compile_device

SORT = """
#include <stdint.h>
uint32_t state = 1;
int32_t values[64];
int32_t next(void);
int32_t next(void) { return (int32_t)((state = state * 1664525u + 1013904223u) >> 20); }
int32_t depth(int32_t n);
int32_t depth(int32_t n) { volatile int32_t m = n; return m < 2 ? 1 : depth(n / 2 * 0 + (n >> 1)) + 1; }
int32_t sort(int32_t n);
int32_t sort(int32_t n) {
  for (int32_t i = 0; i < n; i++) {
    values[i] = next();
  }
  for (int32_t i = 1; i < n; i++) {
    for (int32_t j = i; j > 0 && values[j - 1] > values[j]; j--) {
      const int32_t swap = values[j];
      values[j] = values[j - 1];
      values[j - 1] = swap;
    }
  }
  return depth(n) + values[n / 2 * 0];
}
"""


def assembly(name: str, *lines: str, align: int = 4) -> str:
    header = (f'.section .text.{name},\\"ax\\",%progbits', f".balign {align}", ".thumb_func", f".global {name}")
    text = (*header, f".type {name},%function", f"{name}:", *lines, f".size {name},.-{name}")
    return "__asm__(" + "\n".join(f'"{line}\\n"' for line in text) + ");\n"


# n in r0; 3 + 3n instructions
TRIANGLE = assembly("triangle", "movs r1, #0", "1: adds r1, r1, r0", "subs r0, #1", "bne 1b", "mov r0, r1", "bx lr")
# 5 + 4 instructions of its own around two calls
TWICE = assembly("twice", "push {r4, lr}", "mov r4, r0", "bl triangle", "mov r0, r4", "bl triangle", "pop {r4, pc}")
# 6 instructions whichever way
SIGN = assembly("sign", "cmp r0, #0", "ite gt", "movgt r0, #1", "movle r0, #2", "nop", "bx lr")
# a load that faults inside an IT block
FAULT = assembly("fault", "cmp r0, #0", "itt eq", "ldreq r0, [r1]", "moveq r0, #1", "bx lr")
# 2047 + 1 + 1: longer than any translated block, and a 32-bit instruction lies across two pages
STRADDLE = assembly("straddle", ".rept 2047", "nop", ".endr", "dmb sy", "bx lr", align=4096)

HOOKS = [pytest.param(True, id="native"), pytest.param(False, id="python")]
Builder = Callable[..., Path]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """Compile a program for a core, once."""
    built: dict[tuple[str, str], Path] = {}

    def build_for(core: str, text: str, *entry_points: str) -> Path:
        if (core, text) not in built:
            folder = tmp_path_factory.mktemp(core)
            (folder / "program.c").write_text(text)
            built[core, text] = compile_device(
                CORES[core], [folder / "program.c"], folder / "program.elf", entry_points=entry_points
            )
        return built[core, text]

    return build_for


def test_instruction_lengths() -> None:
    assert instruction_count(b"") == 0
    assert instruction_count(bytes.fromhex("00bf 7047")) == 2  # nop; bx lr
    assert instruction_count(bytes.fromhex("fff7feff 00bf")) == 2  # bl; nop
    assert instruction_count(bytes.fromhex("00e8 0000 ffe7")) == 2  # 0b11101 is long, 0b11100 short


@pytest.mark.parametrize("native", HOOKS)
@pytest.mark.parametrize("core", CORES)
def test_hand_counts(build: Builder, core: str, native: bool) -> None:
    elf = build(core, TRIANGLE + TWICE + STRADDLE, "triangle", "twice", "straddle")
    machine = Machine(CORES[core], elf, native_counter=native)
    assert isinstance(machine.counter, NativeCounter if native else PythonCounter)
    for n in (1, 2, 1000):
        assert machine.call("triangle", n) == n * (n + 1) // 2
        assert machine.instructions == 3 + 3 * n
    assert machine.counter.instructions == 9 + 3 * 1003
    machine.counter.reset()
    assert machine.call("twice", 10) == 55
    assert machine.instructions == machine.counter.instructions == 6 + 2 * 33
    assert machine.counter.by_function() == {"twice": 6, "triangle": 66}
    machine.call("straddle")
    assert machine.instructions == 2049
    assert machine.counter.by_function() == {"twice": 6, "triangle": 66, "straddle": 2049}


@pytest.mark.parametrize("native", HOOKS)
@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m7"])
def test_a_skipped_instruction_counts(build: Builder, core: str, native: bool) -> None:
    machine = Machine(CORES[core], build(core, SIGN + FAULT, "sign", "fault"), native_counter=native)
    for argument, result in ((5, 1), (-5, 2)):
        assert machine.call("sign", argument) == result
        assert machine.instructions == 6
    with pytest.raises(EdgeLstmError, match=r"read of 4 bytes at 0x00000000"):
        machine.call("fault", 0, 0)
    assert machine.call("sign", 5) == 1  # nothing of the interrupted IT block is left
    assert machine.instructions == 6


@pytest.mark.parametrize("core", CORES)
def test_both_hooks_count_the_same(build: Builder, core: str) -> None:
    elf = build(core, SORT, "sort")
    native, python = (Machine(CORES[core], elf, native_counter=native) for native in (True, False))
    for n in (2, 7, 64):
        assert native.call("sort", n) == python.call("sort", n)
        assert native.instructions == python.instructions > 10 * n
    assert native.counter.by_function() == python.counter.by_function()
    assert sum(native.counter.by_function().values()) == native.counter.instructions
    assert {"sort", "depth"} <= set(native.counter.by_function())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(blocks=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), max_size=30))
def test_blocks_cut_anywhere_count_the_same(build: Builder, blocks: list[tuple[int, int]]) -> None:
    """The same start with another size is another block: reported to both hooks directly."""
    elf = build("cortex-m4", SORT, "sort")
    native, python = (Machine(CORES["cortex-m4"], elf, native_counter=native).counter for native in (True, False))
    assert isinstance(native, NativeCounter)
    assert isinstance(python, PythonCounter)
    code = native._image.code
    expected = 0
    for counter in (native, python):
        counter.stop_at(1_000_000)
    for start, halfwords in blocks:
        address, size = code.address + 2 * start, 2 * halfwords
        native._library.count_block(None, ctypes.c_uint64(address), ctypes.c_uint32(size), ctypes.byref(native._state))
        python._on_block(None, address, size, None)
        expected += instruction_count(code.data[2 * start : 2 * start + size])
    assert native.instructions == python.instructions == expected
    assert dict(native._executed()) == dict(python._executed())


@pytest.mark.parametrize("native", HOOKS)
def test_the_limit_is_per_call(build: Builder, native: bool) -> None:
    elf = build("cortex-m4", TRIANGLE, "triangle")
    machine = Machine(CORES["cortex-m4"], elf, max_instructions=303, native_counter=native)
    for _ in range(3):
        machine.call("triangle", 100)
    with pytest.raises(EdgeLstmError, match=r"^Cortex-M4, call of triangle: more than 303 instructions executed \(in "):
        machine.call("triangle", 102)
    assert 303 <= machine.instructions <= 305


@pytest.mark.skipif(sys.platform != "linux", reason="moves the cache folder by XDG_CACHE_HOME")
def test_the_compiled_hook_is_cached_and_dispensable(
    build: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    elf = build("cortex-m4", TRIANGLE, "triangle")
    for variable in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
        monkeypatch.setenv(variable, str(native_counter.cache_dir() / "zig"))  # only our own cache starts empty
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "first"))
    monkeypatch.setattr(native_counter, "hook_library", native_counter.hook_library.__wrapped__)  # not yet loaded
    assert isinstance(Machine(CORES["cortex-m4"], elf).counter, NativeCounter)

    def fail(*_: object) -> Path:
        raise EdgeLstmError("no compiler today")

    monkeypatch.setattr(native_counter, "compile_shared", fail)
    assert isinstance(Machine(CORES["cortex-m4"], elf).counter, NativeCounter)
    assert caplog.text == ""

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "second"))
    machine = Machine(CORES["cortex-m4"], elf)
    assert isinstance(machine.counter, PythonCounter)
    assert caplog.record_tuples == [
        (
            emulator.__name__,
            logging.WARNING,
            "instructions are counted in Python, 10 to 50 times slower: no compiler today",
        )
    ]
    assert machine.call("triangle", 10) == 55
    assert machine.instructions == 33
