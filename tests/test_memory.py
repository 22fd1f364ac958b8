"""The memory functions that stand in for a libc, against slices of bytes."""

from __future__ import annotations

import pytest

from edge_lstm.firmware_sim.cores import CORES
from edge_lstm.firmware_sim.emulator import Machine
from edge_lstm.firmware_sim.toolchain import compile_device

FUNCTIONS = ("memcpy", "memmove", "memset", "__aeabi_memcpy", "__aeabi_memset", "__aeabi_memclr")


@pytest.fixture(scope="module", params=["cortex-m0plus", "cortex-m4"])
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    core = CORES[request.param]
    elf = tmp_path_factory.mktemp("memory") / "memory.elf"
    return Machine(core, compile_device(core, [], elf, entry_points=FUNCTIONS))


@pytest.mark.parametrize(("to", "source"), [(0, 64), (4, 65), (1, 66), (3, 67)])
@pytest.mark.parametrize("size", [0, 1, 3, 4, 7, 8, 33])
def test_memory_functions(machine: Machine, to: int, source: int, size: int) -> None:
    base = machine.alloc(128)
    before = bytes(range(100, 228))

    def after(function: str, *arguments: int) -> bytes:
        machine.write(base, before)
        machine.call(function, *arguments)
        return machine.read(base, 128)

    copied = before[:to] + before[source : source + size] + before[to + size :]
    for function in ("memcpy", "memmove", "__aeabi_memcpy"):
        assert after(function, base + to, base + source, size) == copied
    for function, arguments in (("memset", (0x1AB, size)), ("__aeabi_memset", (size, 0x1AB))):
        assert after(function, base + to, *arguments) == before[:to] + b"\xab" * size + before[to + size :]
    assert after("__aeabi_memclr", base + to, size) == before[:to] + bytes(size) + before[to + size :]
    for shift in (-1, -4, 1, 4, 5):  # overlapping
        low = 16 + to
        moved = before[:low] + before[low + shift : low + shift + size] + before[low + size :]
        assert after("memmove", base + low, base + low + shift, size) == moved
