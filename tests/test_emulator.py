"""Functions on the emulated cores: results, arguments, memory and stack use."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_lstm.errors import EdgeLstmError, MissingExtraError
from edge_lstm.firmware_sim import toolchain
from edge_lstm.firmware_sim.cores import CORES
from edge_lstm.firmware_sim.emulator import Machine
from edge_lstm.firmware_sim.memory_map import BUFFERS, RAM
from edge_lstm.firmware_sim.toolchain import compile_device, compile_host

MIXED = """
#include <stdint.h>
int32_t mixed(const int8_t *a, const int16_t *b, int32_t n);
int32_t mixed(const int8_t *a, const int16_t *b, int32_t n) {
  int32_t sum = 0;
  for (int32_t i = 0; i < n; i++) {
    int32_t product = a[i] * b[i];
    product = product < 0 ? -(-product >> 3) : product >> 3;
    sum = (sum > 100000) ? sum - 70000 : sum + product;
  }
  return sum;
}
"""
HOST_MAIN = """
#include <stdint.h>
#include <stdio.h>
int32_t mixed(const int8_t *a, const int16_t *b, int32_t n);
int main(void) {
  static int8_t a[1000];
  static int16_t b[1000];
  if (fread(a, 1, 1000, stdin) != 1000 || fread(b, 2, 1000, stdin) != 1000) {
    return 1;
  }
  printf("%ld\\n", (long)mixed(a, b, 1000));
  return 0;
}
"""
PROGRAM = """
#include <stdint.h>
int32_t variable = 5;
int32_t zeros[4];
const int32_t constant[2] = {6, 7};

int seven(int a, int b, int c, int d, int e, int f, int g);
int seven(int a, int b, int c, int d, int e, int f, int g) {
  return a + 10 * b + 100 * c + 1000 * d + 10000 * e + 100000 * f + 1000000 * g;
}
int identity(int a);
int identity(int a) { return a; }
int bump(void);
int bump(void) { return variable += constant[zeros[0] + 1] + zeros[3]; }
int recurse(int n);
int recurse(int n) {
  volatile int frame[8];
  frame[n & 7] = n;
  return n == 0 ? 0 : recurse(n - 1) + frame[n & 7];
}
"""
FUNCTIONS = ("seven", "identity", "bump", "recurse")

Loader = Callable[[str], Machine]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Loader:
    """Build PROGRAM for a core and load it into a new machine."""
    folder = tmp_path_factory.mktemp("emulator")
    (folder / "program.c").write_text(PROGRAM)
    built: dict[str, Path] = {}

    def load_for(core: str) -> Machine:
        if core not in built:
            built[core] = compile_device(
                CORES[core], [folder / "program.c"], folder / f"{core}.elf", entry_points=FUNCTIONS
            )
        return Machine(CORES[core], built[core])

    return load_for


@pytest.fixture(params=CORES)
def machine(request: pytest.FixtureRequest, load: Loader) -> Machine:
    return load(request.param)


def test_every_module_imports_without_the_extra() -> None:
    code = """
import sys
for name in ("unicorn", "capstone", "elftools", "platformdirs", "ziglang"):
    sys.modules[name] = None
import edge_lstm.firmware_sim.emulator, edge_lstm.firmware_sim.isa
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_extra_is_named_where_unicorn_is_missing(load: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    elf = load("cortex-m4").image.path
    monkeypatch.setitem(sys.modules, "unicorn", None)
    message = r"^unicorn is needed to emulate a Cortex-M: pip install 'edge-lstm\[sim\]'$"
    with pytest.raises(MissingExtraError, match=message):
        Machine(CORES["cortex-m4"], elf)


def test_host_and_all_cores_compute_the_same(tmp_path: Path) -> None:
    values = [(37 * i * i + 11 * i) % 65536 for i in range(1000)]
    a = struct.pack("<1000b", *(value % 256 - 128 for value in values))
    b = struct.pack("<1000h", *(value - 32768 for value in values))
    (tmp_path / "mixed.c").write_text(MIXED)
    (tmp_path / "main.c").write_text(HOST_MAIN)
    program = compile_host([tmp_path / "mixed.c", tmp_path / "main.c"], tmp_path / "host")
    results = [int(subprocess.run([program], input=a + b, capture_output=True, check=True).stdout)]
    for core in CORES.values():
        elf = compile_device(core, [tmp_path / "mixed.c"], tmp_path / f"{core.name}.elf", entry_points=["mixed"])
        machine = Machine(core, elf)
        addresses = [machine.alloc(len(a)), machine.alloc(len(b))]
        for address, data in zip(addresses, (a, b), strict=True):
            machine.write(address, data)
        results.append(machine.call("mixed", *addresses, 1000))
    expected = 0
    for x, y in zip(struct.unpack("<1000b", a), struct.unpack("<1000h", b), strict=True):
        product = -(-x * y >> 3) if x * y < 0 else x * y >> 3
        expected = expected - 70000 if expected > 100000 else expected + product
    assert results == [expected] * 5


def test_arguments_and_result(machine: Machine) -> None:
    assert machine.call("seven", 1, 2, 3, 4, 5, 6, 7) == 7654321
    assert machine.call("identity", -1) == machine.call("identity", 2**32 - 1) == -1
    assert machine.call("identity", 2**31 - 1) == 2**31 - 1


@pytest.mark.parametrize("value", [2**32, -(2**31) - 1])
def test_an_argument_of_more_than_32_bits_is_refused(load: Loader, value: int) -> None:
    with pytest.raises(EdgeLstmError, match=rf"^argument {value} does not fit in 32 bits$"):
        load("cortex-m4").call("identity", value)


def test_an_unknown_function_is_refused(load: Loader) -> None:
    with pytest.raises(EdgeLstmError, match=r"^cortex-m4\.elf has no symbol 'nothing'; its functions are \w+, "):
        load("cortex-m4").call("nothing")


def test_variables_keep_their_values(machine: Machine) -> None:
    assert [machine.call("bump"), machine.call("bump")] == [12, 19]
    machine.write("variable", struct.pack("<i", 100))
    machine.write("zeros", struct.pack("<4i", -1, 9, 9, 2))
    assert machine.call("bump") == 108
    assert machine.read("variable", 4) == struct.pack("<i", 108)
    assert machine.read("constant", 8) == struct.pack("<2i", 6, 7)


def test_buffers_are_aligned_apart_and_zeroed(load: Loader) -> None:
    machine = load("cortex-m4")
    first, second, third = machine.alloc(3), machine.alloc(8 * 2**20, align=4096), machine.alloc(1)
    assert first % 8 == second % 4096 == third % 8 == 0
    assert first + 3 <= second
    assert second + 8 * 2**20 <= third
    assert machine.read(second, 8 * 2**20) == bytes(8 * 2**20)
    assert all(BUFFERS.contains(address) for address in (first, second, third))


def test_buffers_run_out(load: Loader) -> None:
    machine = load("cortex-m4")
    machine.alloc(16 * 2**20 - 100)
    with pytest.raises(EdgeLstmError, match=r"^no room for a buffer of 101 bytes: 100 of 16777216 are left$"):
        machine.alloc(101)


def test_memory_outside_the_map_is_refused(load: Loader) -> None:
    machine = load("cortex-m4")
    ranges = (
        "flash 0x08000000 to 0x08ffffff, RAM 0x20000000 to 0x200fffff, "
        "stack 0x20200000 to 0x2020ffff, buffers 0x60000000 to 0x60ffffff"
    )
    with pytest.raises(EdgeLstmError, match=rf"^cannot read 8 bytes at 0x200ffffc; there is {ranges}$"):
        machine.read(RAM.end - 4, 8)
    with pytest.raises(EdgeLstmError, match=rf"^cannot write 1 bytes at 0x00000000; there is {ranges}$"):
        machine.write(0, b"x")
    with pytest.raises(EdgeLstmError, match=r"^cannot write to 0x0[0-9a-f]{7}: flash is read-only$"):
        machine.write("constant", b"x")


def test_stack_use_grows_by_a_frame_per_call(machine: Machine) -> None:
    used = []
    for depth in (1, 2, 3, 100):
        assert machine.call("recurse", depth) == depth * (depth + 1) // 2
        used.append(machine.stack_used)
    frame = used[1] - used[0]
    assert 32 + 4 <= frame <= 64  # the array, the return address, saved registers
    assert used == [used[0], used[0] + frame, used[0] + 2 * frame, used[0] + 99 * frame]
    machine.call("identity", 1)
    assert machine.stack_used == 0


def test_a_program_too_large_for_flash_or_ram_is_refused(tmp_path: Path) -> None:
    (tmp_path / "large.c").write_text("char large[2000000];\nvoid f(void);\nvoid f(void) { large[0] = 1; }\n")
    with pytest.raises(EdgeLstmError, match=r"(?s)^compiling for Cortex-M4 failed:\n.*region 'RAM'"):
        compile_device(CORES["cortex-m4"], [tmp_path / "large.c"], tmp_path / "large.elf", entry_points=["f"])


def test_a_program_for_another_memory_map_is_refused(
    load: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Path(toolchain.__file__).parent / "cortex_m.ld"
    (tmp_path / "cortex_m.ld").write_text(script.read_text().replace("0x20000000", "0x30000000"))
    (tmp_path / "program.c").write_text(PROGRAM)
    bare = tuple(flag.replace(str(script), str(tmp_path / "cortex_m.ld")) for flag in toolchain._BARE)
    monkeypatch.setattr(toolchain, "_BARE", bare)
    core = CORES["cortex-m4"]
    elf = compile_device(core, [tmp_path / "program.c"], tmp_path / "p.elf", entry_points=["bump"])
    with pytest.raises(EdgeLstmError, match=r"^cannot load 4 bytes at 0x30000000; there is flash 0x08000000 to "):
        Machine(core, elf)
    assert load("cortex-m4").call("bump") == 12
