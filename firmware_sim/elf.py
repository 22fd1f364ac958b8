"""Read an ELF file: what to load, where functions are, and how many bytes each symbol takes."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edge_lstm.errors import EdgeLstmError, require

_WRITE, _ALLOC, _EXECUTE = 1, 2, 4  # section flags
UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function or an object of ``size`` bytes; ``address`` is without the Thumb bit."""

    name: str
    address: int
    size: int
    is_function: bool


@dataclass(frozen=True, slots=True)
class Section:
    """A section that takes memory. ``data`` is empty for one that starts as zeros (.bss)."""

    name: str
    address: int
    size: int
    data: bytes
    writable: bool
    executable: bool


@dataclass(frozen=True)
class Image:
    """A program.

    Attributes:
        path: The file it was read from.
        sections: What takes memory on the device, by address.
        symbols: Functions and objects, static ones too, by address.
        thumb_ranges: ``(start, end)`` of instructions, as opposed to literal pools and jump tables between them.
    """

    path: Path
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    thumb_ranges: tuple[tuple[int, int], ...]

    @classmethod
    def read(cls, path: Path) -> Image:
        """Read an ELF file.

        Raises:
            MissingExtraError: ``pyelftools`` is not installed.
            EdgeLstmError: It is no ELF file for Arm with one section of code.
        """
        elffile = require("elftools.elf.elffile", package="pyelftools", extra="sim", purpose="to read firmware")
        with path.open("rb") as file:
            try:
                elf = elffile.ELFFile(file)
            except elffile.ELFError as error:
                raise EdgeLstmError(f"{path} is no ELF file: {error}") from None
            if elf["e_machine"] != "EM_ARM":
                raise EdgeLstmError(f"{path} is for {elf['e_machine']}, not EM_ARM")
            sections = tuple(sorted(_sections(elf), key=lambda section: section.address))
            entries = [] if (table := elf.get_section_by_name(".symtab")) is None else list(table.iter_symbols())
        if (found := sum(section.executable for section in sections)) != 1:
            raise EdgeLstmError(f"{path} has {found} sections of code, not 1")
        return cls(path, sections, tuple(_symbols(entries)), tuple(_thumb_ranges(entries, sections)))

    @property
    def text(self) -> int:
        """Bytes of code, with its literal pools: in flash."""
        return self.code.size

    @property
    def rodata(self) -> int:
        """Bytes of constants: in flash."""
        return sum(s.size for s in self.sections if not s.executable and not s.writable)

    @property
    def data(self) -> int:
        """Bytes of initialised variables: in RAM, and their first values in flash."""
        return sum(s.size for s in self.sections if s.writable and s.data)

    @property
    def bss(self) -> int:
        """Bytes of variables that start as zero: in RAM."""
        return sum(s.size for s in self.sections if s.writable and not s.data)

    @property
    def code(self) -> Section:
        """The one executable section."""
        return next(section for section in self.sections if section.executable)

    def symbol(self, name: str) -> Symbol:
        """Look up a function or an object.

        Raises:
            EdgeLstmError: There is none of that name.
        """
        if (symbol := self._by_name.get(name)) is not None:
            return symbol
        known = ", ".join(function.name for function in self._functions)
        raise EdgeLstmError(f"{self.path.name} has no symbol {name!r}; its functions are {known}")

    def symbol_size(self, name: str) -> int:
        """Bytes that a function or an object takes; errors as :meth:`symbol`."""
        return self.symbol(name).size

    def function_at(self, address: int) -> str:
        """Name of the function around ``address``, ``"?"`` where there is none."""
        index = bisect_right(self._functions, address, key=lambda function: function.address) - 1
        if index >= 0 and address < self._functions[index].address + self._functions[index].size:
            return self._functions[index].name
        return UNKNOWN

    def flash_by(self, category: Callable[[str], str]) -> dict[str, int]:
        """Bytes of flash by category.

        Args:
            category: From a symbol's name to its category.

        Returns:
            Sums to ``text + rodata + data``; what belongs to no symbol, such as alignment, is ``"padding"``.
        """
        sizes: Counter[str] = Counter()
        sizes["padding"] = self.text + self.rodata + self.data
        initialised = [section for section in self.sections if section.data]
        for symbol in {symbol.address: symbol for symbol in self.symbols}.values():  # an alias counts once
            if any(s.address <= symbol.address < s.address + s.size for s in initialised):
                sizes[category(symbol.name)] += symbol.size
                sizes["padding"] -= symbol.size
        return dict(sizes)

    @cached_property
    def _by_name(self) -> dict[str, Symbol]:
        return {symbol.name: symbol for symbol in reversed(self.symbols)}

    @cached_property
    def _functions(self) -> list[Symbol]:
        return [symbol for symbol in self.symbols if symbol.is_function]


def _sections(elf: Any) -> list[Section]:
    return [
        Section(
            s.name,
            s["sh_addr"],
            s["sh_size"],
            b"" if s["sh_type"] == "SHT_NOBITS" else s.data(),
            bool(s["sh_flags"] & _WRITE),
            bool(s["sh_flags"] & _EXECUTE),
        )
        for s in elf.iter_sections()
        if s["sh_flags"] & _ALLOC and s["sh_size"]
    ]


def _symbols(entries: list[Any]) -> list[Symbol]:
    kinds = {"STT_FUNC": True, "STT_OBJECT": False}
    found = [
        Symbol(e.name, e["st_value"] & ~1 if is_function else e["st_value"], e["st_size"], is_function)
        for e in entries
        if (is_function := kinds.get(e["st_info"]["type"])) is not None and e["st_shndx"] != "SHN_UNDEF"
    ]
    return sorted(found, key=lambda symbol: symbol.address)


def _thumb_ranges(entries: list[Any], sections: tuple[Section, ...]) -> list[tuple[int, int]]:
    """Mapping symbols ``$t`` and ``$d`` say where instructions and data begin (Arm's ELF document, AAELF32, 5.5.5)."""
    code = next(section for section in sections if section.executable)
    end = code.address + code.size
    marks = {e["st_value"]: e.name[:2] for e in entries if e.name[:2] in ("$t", "$d")}
    starts = sorted(address for address in marks if code.address <= address < end)
    return [(a, b) for a, b in zip(starts, [*starts[1:], end], strict=True) if marks[a] == "$t"]
