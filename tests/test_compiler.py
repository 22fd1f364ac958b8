"""Libraries for this very processor: built once, and loaded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edge_lstm import compiler
from edge_lstm.compiler import cache_dir, native_library
from edge_lstm.errors import EdgeLstmError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="moves the cache folder by XDG_CACHE_HOME")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
        monkeypatch.setenv(variable, str(cache_dir() / "zig"))  # only our own cache starts empty
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_a_library_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "int next(int v) { return v + 1; }"
    assert native_library(text).next(41) == 42
    (made,) = cache_dir().glob("native-*.so")

    def refuse(*_: object) -> str:
        raise AssertionError

    monkeypatch.setattr(compiler, "run_compiler", refuse)
    assert native_library(text).next(1) == 2
    monkeypatch.setattr(compiler, "_processor", lambda: "another")
    with pytest.raises(AssertionError):  # what was built for one processor does not serve another
        native_library(text)
    assert list(cache_dir().glob("native-*.so")) == [made]


def test_what_does_not_compile_or_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EdgeLstmError, match=r"^compiling for this computer failed:\n"):
        native_library("nonsense;")

    def refuse(_: str) -> None:
        raise OSError("not today")

    monkeypatch.setattr(compiler.ctypes, "CDLL", refuse)
    with pytest.raises(EdgeLstmError, match=r"^the library native-[0-9a-f]{24}\.so does not load: not today$"):
        native_library("int one(void) { return 1; }")
