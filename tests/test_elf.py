"""Reading ELF files: sizes by section and by symbol, and functions by address."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_lstm.errors import EdgeLstmError
from edge_lstm.firmware_sim.cores import CORES
from edge_lstm.firmware_sim.elf import Image
from edge_lstm.firmware_sim.toolchain import compile_device, compile_host

SOURCE = """
#include <stdint.h>
static const int8_t weights[100] = {1, 2, 3};
const int16_t table[33] = {4, 5, 6};
int32_t start = 7;
int32_t totals[10];
int32_t first(uint32_t i);
int32_t second(uint32_t i);
int32_t first(uint32_t i) { return weights[i] + table[i] + start++; }
int32_t second(uint32_t i) { return totals[i]++; }
int32_t alias(uint32_t i) __attribute__((alias("second")));
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("elf")
    (folder / "sizes.c").write_text(SOURCE)
    return Image.read(
        compile_device(
            CORES["cortex-m4"], [folder / "sizes.c"], folder / "sizes.elf", entry_points=["first", "second", "alias"]
        )
    )


def test_section_sizes(image: Image) -> None:
    assert image.rodata == 100 + 66
    assert image.data == 4
    assert image.bss == 40
    assert image.text == image.code.size == len(image.code.data) > 0


def test_symbol_sizes(image: Image) -> None:
    sizes = {name: image.symbol_size(name) for name in ("weights", "table", "start", "totals")}
    assert sizes == {"weights": 100, "table": 66, "start": 4, "totals": 40}
    assert image.symbol_size("first") > 0
    assert image.symbol("first").address % 2 == 0


def test_an_unknown_symbol_is_refused_by_name(image: Image) -> None:
    with pytest.raises(EdgeLstmError, match=r"^sizes\.elf has no symbol 'third'; its functions are first, \w+, \w+$"):
        image.symbol("third")


def test_flash_is_attributed_to_the_last_byte(image: Image) -> None:
    categories = {"weights": "weights", "table": "tables", "start": "variables"}
    sizes = image.flash_by(lambda name: categories.get(name, "code"))
    assert sizes["weights"] == 100
    assert sizes["tables"] == 66
    assert sizes["variables"] == 4
    assert sizes["code"] == image.symbol_size("first") + image.symbol_size("second")  # the alias is no third function
    assert sum(sizes.values()) == image.text + image.rodata + image.data
    assert 0 <= sizes["padding"] < 16


def test_functions_are_found_by_address(image: Image) -> None:
    first = image.symbol("first")
    assert image.function_at(first.address) == "first"
    assert image.function_at(first.address + first.size - 1) == "first"
    assert image.function_at(first.address - 1) != "first"
    assert image.function_at(0) == "?"
    assert image.function_at(image.symbol("table").address) == "?"


def test_what_is_no_elf_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.elf"
    path.write_text("no program")
    with pytest.raises(EdgeLstmError, match=r"text\.elf is no ELF file: "):
        Image.read(path)


def test_a_program_for_another_processor_is_refused(tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    program = compile_host([tmp_path / "main.c"], tmp_path / "main")
    if program.read_bytes()[:4] != b"\x7fELF":
        pytest.skip("programs for this computer are not ELF files")
    with pytest.raises(EdgeLstmError, match=r"main is for EM_\w+, not EM_ARM$"):
        Image.read(program)


def test_a_program_without_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.c").write_text("const int constant = 1;\n")
    elf = compile_device(CORES["cortex-m4"], [tmp_path / "empty.c"], tmp_path / "empty.elf", entry_points=["constant"])
    with pytest.raises(EdgeLstmError, match=r"empty\.elf has 0 sections of code, not 1$"):
        Image.read(elf)
