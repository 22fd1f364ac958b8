"""Planted instructions are found, each on the cores that lack it and on no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_lstm.firmware_sim.cores import CORES
from edge_lstm.firmware_sim.counting import instruction_count
from edge_lstm.firmware_sim.elf import Image
from edge_lstm.firmware_sim.isa import forbidden_instructions
from edge_lstm.firmware_sim.toolchain import compile_device

CLEAN = """
#include <stdint.h>
int8_t copy[100];
int32_t f(const int8_t *a, const int8_t *b, int32_t n);
int32_t f(const int8_t *a, const int8_t *b, int32_t n) {
  int32_t sum = 0x12345678;
  __builtin_memcpy(copy, a, (uint32_t)n);
  for (int32_t i = 0; i < n; i++) {
    switch (b[i]) {
      case 0: sum += a[i]; break;
      case 1: sum -= a[i]; break;
      case 2: sum ^= a[i] + 0x1234567; break;
      case 3: sum = n; break;
      case 4: sum = sum > 9 ? 9 : sum; break;
      default: sum += a[i] * b[i];
    }
  }
  return sum;
}
"""


def assembly(name: str, instruction: str, *directives: str) -> str:
    header = (f'.section .text.{name},\\"ax\\",%progbits', *directives, ".thumb_func", f".global {name}")
    text = (*header, f".type {name},%function", f"{name}: nop", instruction, "bx lr", f".size {name},.-{name}")
    return "__asm__(" + "\n".join(f'"{line}\\n"' for line in text) + ");\n"


def build(folder: Path, core: str, text: str) -> Image:
    (folder / "source.c").write_text(text)
    return Image.read(compile_device(CORES[core], [folder / "source.c"], folder / "f.elf", entry_points=["f"]))


@pytest.mark.parametrize(
    ("instruction", "lacking"),
    [
        ("smlad r0, r1, r2, r3", {"cortex-m0plus", "cortex-m3"}),
        ("sxtab16 r0, r1, r2", {"cortex-m0plus", "cortex-m3"}),
        ("ssat16 r0, #5, r1", {"cortex-m0plus", "cortex-m3"}),
        ("smlabb r0, r1, r2, r3", {"cortex-m0plus", "cortex-m3"}),
        ("it ne; smladne r0, r1, r2, r3", {"cortex-m0plus", "cortex-m3"}),
        ("it ne; movne r0, #1", {"cortex-m0plus"}),
        ("cbz r0, 1f; nop; 1:", {"cortex-m0plus"}),
        ("smull r0, r1, r2, r3", {"cortex-m0plus"}),
        ("udiv r0, r1, r2", {"cortex-m0plus"}),
        ("ssat r0, #5, r1", {"cortex-m0plus"}),
        ("movw r0, #1234", {"cortex-m0plus"}),
        ("dmb sy; mrs r0, primask; rev r0, r1; sxtb r0, r1; muls r0, r1, r0", set()),
        (".inst.n 0xb6ff", set(CORES)),  # no instruction at all
    ],
)
@pytest.mark.parametrize("core", CORES)
def test_planted_instruction(tmp_path: Path, core: str, instruction: str, lacking: set[str]) -> None:
    image = build(tmp_path, core, assembly("f", instruction, ".arch armv7e-m"))
    found = forbidden_instructions(image, CORES[core])
    assert bool(found) == (core in lacking)
    assert {entry.function for entry in found} <= {"f"}
    assert all(image.code.address + 2 <= entry.address < image.code.address + image.text for entry in found)


def test_report_of_a_planted_smlad(tmp_path: Path) -> None:
    image = build(tmp_path, "cortex-m3", assembly("f", "smlad r0, r1, r2, r3", ".arch armv7e-m"))
    assert forbidden_instructions(image, CORES["cortex-m3"]) == [("f", image.symbol("f").address + 2, "smlad")]


def test_float_instructions_are_forbidden_everywhere(tmp_path: Path) -> None:
    planted = assembly("f", "vadd.f32 s0, s1, s2", ".arch armv7e-m", ".fpu fpv4-sp-d16")
    image = build(tmp_path, "cortex-m4", planted)
    assert [entry.mnemonic for entry in forbidden_instructions(image, CORES["cortex-m4"])] == ["vadd.f32"]


@pytest.mark.parametrize(
    ("helper", "body"),
    [
        (
            "__aeabi_lmul",
            "long long f(long long a, long long b);\nlong long f(long long a, long long b) { return a * b; }",
        ),
        ("__aeabi_fadd", "float f(float a, float b);\nfloat f(float a, float b) { return a + b; }"),
        ("__aeabi_idiv", "int f(int a, int b);\nint f(int a, int b) { return a / b; }"),
    ],
)
def test_calls_of_runtime_helpers_are_found(tmp_path: Path, helper: str, body: str) -> None:
    image = build(tmp_path, "cortex-m0plus", f"{assembly(helper, 'nop')}{body}\n")
    found = forbidden_instructions(image, CORES["cortex-m0plus"])
    assert [(entry.function, entry.mnemonic) for entry in found] == [("f", f"bl {helper}")]


@pytest.mark.parametrize("core", CORES)
def test_compiled_code_is_clean_and_its_lengths_agree_with_capstone(tmp_path: Path, core: str) -> None:
    capstone = pytest.importorskip("capstone")
    image = build(tmp_path, core, CLEAN)
    assert forbidden_instructions(image, CORES[core]) == []
    assert image.symbol_size("__aeabi_memcpy") > 0  # called, and no arithmetic
    decoder = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    for start, end in image.thumb_ranges:
        code = image.code.data[start - image.code.address : end - image.code.address]
        assert instruction_count(code) == sum(1 for _ in decoder.disasm(code, start)) > 0
