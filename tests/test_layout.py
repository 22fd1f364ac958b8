"""Who may import whom, and what the repository holds."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge_lstm

ROOT = Path(__file__).parent.parent
TRACKED = subprocess.run(
    ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
).stdout.split("\0")
FILES = sorted(name for name in TRACKED if name and (ROOT / name).is_file())
PACKAGE = [
    name for name in FILES if name.endswith(".py") and name.startswith(("edge_lstm/", "export/", "firmware_sim/"))
]
CHAIN = ("errors", "fixedpoint", "arrays", "requantize", "gates", "cells", "blocks", "luts", "signature")
CHAIN += ("wiring", "layers", "heads", "model", "ops", "program", "ratio", "symbols", "lower_heads", "lower")
CHAIN += ("timeline", "execution", "runtime", "step_error")
"""None of these imports, at its top, one that comes later."""
CORE = (*CHAIN[1:], "files", "codec", "npz", "float_run", "storage", "statistics", "to_integers", "rows", "bits")
CORE += ("calibrate", "ranges", "ptq", "moments", "reconstruct", "bias_correction", "equalize", "harden")
CORE += ("fidelity", "format_search", "ptq_options")
OUTER = ("cli", "commands", "report", "study", "training", "nn", "verification", "firmware_sim", "export")

pytestmark = pytest.mark.skipif(not FILES, reason="no git here to list the files")


def module(name: str) -> str:
    """Dotted name under which a file of the package is imported."""
    path = Path(name).with_suffix("")
    parts = path.parts if path.parts[0] == "edge_lstm" else ("edge_lstm", *path.parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(name: str, *, at_its_top: bool = False) -> Iterator[str]:
    """Every module that a file imports, at its top or in a function, by statement, importlib or ``require``."""
    package = module(name).split(".")
    package = package if Path(name).name == "__init__.py" else package[:-1]
    tree = ast.parse((ROOT / name).read_text())
    for node in tree.body if at_its_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, (base, node.module)))
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("require", "import_module") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def users(*roots: str) -> set[str]:
    return {name for name in PACKAGE for used in imported(name) if used.partition(".")[0] in roots}


def test_the_lists_are_not_empty() -> None:
    assert {"edge_lstm/runtime.py", "export/c99.py", "firmware_sim/emulator.py"} <= set(PACKAGE)
    assert "edge_lstm.cells" in set(imported("edge_lstm/layers.py"))
    assert users("unicorn", "jinja2", "numpy")


def test_torch_is_imported_by_the_trainer_alone() -> None:
    found = users("torch")
    assert "edge_lstm/nn/torch_ops.py" in found
    assert {n for n in found if not n.startswith("edge_lstm/nn/")} <= {"edge_lstm/training.py", "edge_lstm/backends.py"}


def test_onnx_is_imported_by_the_importer_the_oracle_and_the_onnx_writers_alone() -> None:
    found = users("onnx", "onnxruntime")
    assert "edge_lstm/importer.py" in found
    outside = {n for n in found if not n.startswith(("export/onnx_", "edge_lstm/importing/"))}
    assert outside <= {"edge_lstm/importer.py", "edge_lstm/oracle.py"}


@pytest.mark.parametrize("tool", ["unicorn", "capstone", "elftools", "ziglang"])
def test_the_emulator_and_its_compiler_are_used_in_firmware_sim_alone(tool: str) -> None:
    found = users(tool)
    assert found
    assert all(name.startswith("firmware_sim/") for name in found)


@pytest.mark.parametrize("name", CORE)
def test_the_core_does_not_know_what_is_built_on_it(name: str) -> None:
    used = {".".join(m.split(".")[1:2]) for m in imported(f"edge_lstm/{name}.py") if m.startswith("edge_lstm.")}
    assert not used & set(OUTER)


@pytest.mark.parametrize(
    "chain",
    [
        tuple(f"edge_lstm.{name}" for name in CHAIN),
        ("edge_lstm.nn.activations", "edge_lstm.nn.gradient", "edge_lstm.nn.network", "edge_lstm.training"),
    ],
    ids=["core", "trainer"],
)
def test_what_is_below_does_not_know_what_is_above(chain: tuple[str, ...]) -> None:
    for k, name in enumerate(chain):
        used = set(imported(f"{name.replace('.', '/')}.py", at_its_top=True))
        assert not used & set(chain[k:]), name


def test_the_description_of_a_layer_does_not_know_how_it_is_computed() -> None:
    for name in ("cells", "gates", "blocks"):
        used = {m.split(".")[1] for m in imported(f"edge_lstm/{name}.py") if m.startswith("edge_lstm.")}
        assert used <= {"errors", "arrays", "fixedpoint", "requantize"}, name


def test_the_importer_knows_the_writer_of_what_it_reads_and_nothing_else_outside_the_core() -> None:
    used = {m for m in imported("edge_lstm/importer.py") if m.startswith("edge_lstm.")}
    outside = {m for m in used if m.split(".")[1] in OUTER}
    writers = {"edge_lstm.export.onnx_float", "edge_lstm.export.onnx_operators"}
    assert {".".join(m.split(".")[:3]) for m in outside} == writers


def test_no_module_imports_the_command_line() -> None:
    for name in PACKAGE:
        if not name.startswith("edge_lstm/commands/"):
            assert not [m for m in imported(name) if m.startswith(("edge_lstm.cli", "edge_lstm.commands"))], name


def test_no_exporter_imports_the_emulator() -> None:
    for name in PACKAGE:
        if name.startswith("export/"):
            assert not [m for m in imported(name) if m.startswith(("edge_lstm.firmware_sim", "edge_lstm.report"))], name


def test_the_runtime_brings_no_third_party_module_but_numpy() -> None:
    code = "import sys, edge_lstm.runtime\nprint(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    started = subprocess.run(
        [sys.executable, "-c", "import sys\nprint(*{name.partition('.')[0] for name in sys.modules})"],
        capture_output=True,
        text=True,
        check=True,
    )
    installed = set(importlib.metadata.packages_distributions()) - set(sys.stdlib_module_names)
    assert {"safetensors", "pydantic", "click", "rich"} <= installed
    assert (loaded - set(started.stdout.split())) & installed - {"edge_lstm"} == {"numpy"}


# Written in pieces, so that this file is not what it looks for.
MACHINE = re.compile("|".join(("/wo" + "rk/", "/ro" + "ot/", "/ho" + r"me/\w", "/Us" + r"ers/\w", r"C:\\" + "Users")))


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    assert MACHINE.search("see /wo" + "rk/x")
    found = []
    for name in FILES:
        data = (ROOT / name).read_bytes()
        if b"\0" not in data:
            found += [f"{name}: {hit.group()}" for hit in MACHINE.finditer(data.decode(errors="replace"))]
    assert found == []


def test_no_file_is_large() -> None:
    assert [name for name in FILES if (ROOT / name).stat().st_size > 2**20] == []


def test_no_python_file_is_long() -> None:
    assert [n for n in FILES if n.endswith(".py") and len((ROOT / n).read_text().splitlines()) > 500] == []


def test_the_package_executes_nothing_that_it_reads() -> None:
    for name in PACKAGE:
        tree = ast.parse((ROOT / name).read_text())
        roots = {used.partition(".")[0] for used in imported(name)}
        assert not roots & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}, name
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                plain = node.func.id if isinstance(node.func, ast.Name) else ""
                assert plain not in ("eval", "exec", "compile"), f"{name}:{node.lineno}"
                assert ast.unparse(node.func) not in ("torch.load", "os.system", "os.popen"), f"{name}:{node.lineno}"
                given = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert given.get("allow_pickle", "False") == "False", f"{name}:{node.lineno}"
                assert given.get("shell", "False") == "False", f"{name}:{node.lineno}"
                if ast.unparse(node.func) == "np.load":
                    assert "allow_pickle" in given, f"{name}:{node.lineno}"


def test_every_module_says_what_it_is() -> None:
    python = [n for n in FILES if n.endswith(".py")]
    assert [n for n in python if not ast.get_docstring(ast.parse((ROOT / n).read_text()))] == []


def test_the_version_is_stated_once() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in text
    assert not re.search(r"^version\s*=\s*\"", text, re.MULTILINE)
    assert edge_lstm.__version__ == importlib.metadata.version("edge-lstm")
    assert re.fullmatch(r"\d+\.\d+\.\d+", edge_lstm.__version__)


def test_every_subpackage_is_listed_for_the_wheel() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    listed = set(re.findall(r'^    "(edge_lstm[\w.]*)",$', text, re.MULTILINE))
    assert listed == {module(name) for name in PACKAGE if Path(name).name == "__init__.py"}
