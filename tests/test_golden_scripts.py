"""Every file of golden vectors is what its script writes, to the byte, and says so."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"
SCRIPTS = {"make_vectors": "vectors", "make_form_vectors": "form_vectors", "make_graph_vectors": "graph_vectors"}
LARGEST = {"form_vectors": 300_000, "graph_vectors": 300_000}
"""Bytes of a file."""


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_script_writes_exactly_its_file(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = SCRIPTS[script]
    again = tmp_path / f"{name}.json"
    monkeypatch.setattr("sys.argv", [f"{script}.py", str(again)])
    runpy.run_path(str(GOLDEN / f"{script}.py"), run_name="__main__")
    assert again.read_bytes() == (GOLDEN / f"{name}.json").read_bytes()
    assert name not in LARGEST or again.stat().st_size < LARGEST[name]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_first_entry_says_where_the_vectors_come_from(script: str) -> None:
    vectors = json.loads((GOLDEN / f"{SCRIPTS[script]}.json").read_text(encoding="utf-8"))
    assert next(iter(vectors)) == "provenance"
    assert f"{script}.py, seed" in vectors["provenance"]
