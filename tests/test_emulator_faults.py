"""What a program may not do on the emulated cores, and how it is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

import pytest

from edge_lstm.errors import EdgeLstmError
from edge_lstm.firmware_sim.cores import CORES
from edge_lstm.firmware_sim.emulator import Machine
from edge_lstm.firmware_sim.memory_map import RAM, STACK
from edge_lstm.firmware_sim.toolchain import compile_device

PROGRAM = """
#include <stdint.h>
int identity(int a);
int identity(int a) { return a; }
int read_at(const volatile int *p);
int read_at(const volatile int *p) { return *p; }
void write_at(volatile int *p);
void write_at(volatile int *p) { *p = 1; }
int jump_to(int (*f)(void));
int jump_to(int (*f)(void)) { return f() + 1; }
int recurse(int n);
int recurse(int n) {
  volatile int frame[8];
  frame[n & 7] = n;
  return n == 0 ? 0 : recurse(n - 1) + frame[n & 7];
}
void forever(void);
void forever(void) {
  for (;;) {
  }
}
void trap(void);
void trap(void) { __asm__ volatile("udf #1"); }
void breakpoint(void);
void breakpoint(void) { __asm__ volatile("bkpt #0"); }
void supervisor(void);
void supervisor(void) { __asm__ volatile("svc #0"); }
void sleep(void);
void sleep(void) { __asm__ volatile("wfi"); }
"""
FUNCTIONS = (
    *("identity", "read_at", "write_at", "jump_to", "recurse"),
    *("forever", "trap", "breakpoint", "supervisor", "sleep"),
)


class Loader(Protocol):
    def __call__(self, core: str, *, native_counter: bool = True) -> Machine: ...


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Loader:
    """Build PROGRAM for a core and load it into a new machine."""
    folder = tmp_path_factory.mktemp("emulator")
    (folder / "program.c").write_text(PROGRAM)
    built: dict[str, Path] = {}

    def load_for(core: str, *, native_counter: bool = True) -> Machine:
        if core not in built:
            built[core] = compile_device(
                CORES[core], [folder / "program.c"], folder / f"{core}.elf", entry_points=FUNCTIONS
            )
        return Machine(CORES[core], built[core], max_instructions=1_000_000, native_counter=native_counter)

    return load_for


@pytest.fixture(params=CORES)
def machine(request: pytest.FixtureRequest, load: Loader) -> Machine:
    return load(request.param)


def test_stack_overflow(machine: Machine) -> None:
    message = rf"^{re.escape(machine.core.title)}, call of recurse: write of 4 bytes at 0x201f[0-9a-f]{{4}}, "
    message += r"below the stack of 64 KiB, which overflowed \(in recurse, pc 0x080[0-9a-f]{5}\)$"
    with pytest.raises(EdgeLstmError, match=message):
        machine.call("recurse", 1_000_000)
    assert machine.stack_used > STACK.size - 64
    assert machine.call("recurse", 3) == 6  # the machine still works


@pytest.mark.parametrize(
    ("function", "argument", "what"),
    [
        ("write_at", 0x0800_0010, "write of 4 bytes at 0x08000010, in flash, which does not allow it"),
        ("write_at", 0, "write of 4 bytes at 0x00000000, where there is no memory"),
        ("read_at", 0xE000_E010, "read of 4 bytes at 0xe000e010, where there is no memory"),
        ("trap", 0, "Invalid instruction (UC_ERR_INSN_INVALID)"),
        ("breakpoint", 0, "breakpoint"),
        ("supervisor", 0, "supervisor call"),
        ("sleep", 0, "execution stopped"),
        ("forever", 0, "more than 1000000 instructions executed"),
    ],
)
def test_faults_say_what_and_where(machine: Machine, function: str, argument: int, what: str) -> None:
    message = f"{machine.core.title}, call of {function}: {what} (in {function}, pc 0x"
    with pytest.raises(EdgeLstmError, match=rf"^{re.escape(message)}080[0-9a-f]{{5}}\)$"):
        machine.call(function, argument)
    assert machine.call("identity", 3) == 3  # the machine still works


@pytest.mark.parametrize(
    ("target", "what"),
    [
        (RAM.address, "execution of 2 bytes at 0x20000000, in RAM, which does not allow it (in ?, pc 0x20000000)"),
        (0, "execution of 2 bytes at 0x00000000, where there is no memory (in ?, pc 0x00000000)"),
        (0x0880_0000, "execution stopped (in ?, pc 0x08800000)"),  # flash behind the code
    ],
)
@pytest.mark.parametrize("native", [True, False])
def test_execution_outside_the_code(load: Loader, target: int, what: str, native: bool) -> None:
    machine = load("cortex-m4", native_counter=native)
    with pytest.raises(EdgeLstmError, match=rf"^Cortex-M4, call of jump_to: {re.escape(what)}$"):
        machine.call("jump_to", target | 1)


def test_only_the_m0plus_refuses_unaligned_access(machine: Machine) -> None:
    address = machine.alloc(8)
    machine.write(address, bytes(range(8)))
    if machine.core.name == "cortex-m0plus":
        with pytest.raises(EdgeLstmError, match=r"^Cortex-M0\+, call of read_at: unaligned access \(in read_at, pc "):
            machine.call("read_at", address + 1)
    else:
        assert machine.call("read_at", address + 1) == 0x04030201
