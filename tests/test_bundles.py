"""Bundles: their files are what build systems expect, and their examples compile, run and find the expected class."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_programs import C_COMPILERS, CPP_COMPILERS, compiled, run, write

from edge_lstm import api
from edge_lstm.api import BUNDLE_FORMATS, export_model
from edge_lstm.cost import simulate
from edge_lstm.errors import EdgeLstmError
from edge_lstm.export.bundles import BUNDLES
from edge_lstm.export.bundles.contents import markdown
from edge_lstm.files import MANIFEST
from edge_lstm.model import QuantizedModel
from edge_lstm.samples import example_samples

Make = Callable[..., QuantizedModel]
RESULT = {
    "stream": r"class \d \(class\d\): scores as on the desktop",
    "each": "12 of 12 steps: scores as on the desktop",
    "windows": r"class \d \(class\d\): scores as on the desktop",
    "regression": "5 of 5 steps: scores as on the desktop",
}


def model_of(kind: str, make_quantized: Make, make_quantized_form: Make) -> QuantizedModel:
    if kind == "stream":
        return make_quantized("i=hard,o=hard", hidden=6, inputs=2, pooling="mean", name="wrist_2")
    form = {"each": "each", "windows": "bidirectional", "regression": "decoder stack"}[kind]
    return make_quantized_form(form, "hard")


@pytest.fixture(scope="module", params=RESULT)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(kind: str, make_quantized: Make, make_quantized_form: Make) -> QuantizedModel:
    return model_of(kind, make_quantized, make_quantized_form)


@pytest.fixture(scope="module")
def bundles(model: QuantizedModel, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Format to the folder of its bundle; what is measured is measured in another test."""
    folder = tmp_path_factory.mktemp("bundles")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "is_installed", lambda *_: False)
        for format in BUNDLE_FORMATS:
            export_model(model, format=format, out=folder / format, raw_scale=[0.003])
    return {format: folder / format for format in BUNDLE_FORMATS}


def host(compilers: Mapping[str, list[str]], name: str) -> list[str]:
    """The system's compiler, which is quick, or zig."""
    return compilers[name if shutil.which(name) else "zig"]


def built(bundle: Path, example: Path, out: Path, *, stubs: Mapping[str, str], flags: tuple[str, ...] = ()) -> Path:
    """The example as a program, with the bundle's C as C and headers that stand for the platform's."""
    write(stubs, out / "stubs")
    headers = [f"-I{folder}" for folder in (out / "stubs", bundle / "src", bundle / "include") if folder.is_dir()]
    objects = []
    for source in sorted((bundle / "src").glob("*.c")):
        objects.append(out / f"{source.stem}.o")
        compiled([*host(C_COMPILERS, "gcc"), "-std=c99"], *headers, "-c", source, "-o", objects[-1])
    command = [*host(C_COMPILERS, "gcc"), "-std=c99"]
    if example.suffix != ".c":
        command = [*host(CPP_COMPILERS, "g++"), "-std=c++11"]
    compiled([*command, "-Wall", "-Wextra", "-Werror", *flags], *headers, "-c", example, "-o", out / "example.o")
    compiled([*host(CPP_COMPILERS, "g++")], *objects, out / "example.o", "-o", out / "example")
    return out / "example"


def said(program: Path, kind: str) -> None:
    done = run(program)
    pattern = rf"self-test: 0 \(0: passed\)\n(.*\n)*{RESULT[kind]}\n"
    assert re.fullmatch(pattern, done.stdout.decode()), done.stdout
    assert done.returncode == 0


def test_the_formats_are_those_of_the_interface() -> None:
    assert tuple(BUNDLES) == BUNDLE_FORMATS


# --- Arduino ---------------------------------------------------------------------------------------

ARDUINO_H = """
#include <stdio.h>
struct Port {
    explicit operator bool() const { return true; }
    void begin(long) {}
    void print(const char *text) { fputs(text, stdout); }
};
static Port Serial;
static inline unsigned long millis() { return 0; }
void setup();
void loop();
int main() { setup(); loop(); return 0; }
"""
CATEGORIES = ("Display", "Communication", "Signal Input/Output", "Sensors", "Device Control", "Timing", "Data Storage")
CATEGORIES += ("Data Processing", "Other")


def test_the_arduino_sketch_finds_the_class(bundles: Mapping[str, Path], kind: str, tmp_path: Path) -> None:
    bundle = bundles["arduino"]
    (sketch,) = bundle.rglob("*.ino")
    assert sketch.parent.name == sketch.stem  # what the IDE asks of a sketch
    flags = ("-x", "c++", "-include", "Arduino.h")
    said(built(bundle, sketch, tmp_path, stubs={"Arduino.h": ARDUINO_H}, flags=flags), kind)


def test_the_arduino_library_has_what_its_specification_asks(
    bundles: Mapping[str, Path], model: QuantizedModel
) -> None:
    bundle, name = bundles["arduino"], model.signature.name
    lines = (bundle / "library.properties").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines)
    required = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"}
    assert required | {"includes"} == found.keys()
    assert len(lines) == len(found)
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9 _.\-]{0,62}", found["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["version"])
    assert found["category"] in CATEGORIES
    assert (bundle / "src" / found["includes"]).is_file()
    words = [line.split("\t") for line in (bundle / "keywords.txt").read_text().splitlines()]
    assert {kind for _, kind in words} == {"KEYWORD1", "KEYWORD2", "LITERAL1"}
    header = "".join(path.read_text() for path in (bundle / "src").glob("*.h"))
    assert [word for word, _ in words if word != name and not re.search(rf"\b{word}\b", header)] == []


# --- Zephyr ----------------------------------------------------------------------------------------

ZEPHYR = {"zephyr/kernel.h": "", "zephyr/sys/printk.h": "#include <stdio.h>\n#define printk printf\n"}


def test_the_zephyr_sample_finds_the_class(bundles: Mapping[str, Path], kind: str, tmp_path: Path) -> None:
    bundle = bundles["zephyr"]
    said(built(bundle, bundle / "samples/replay/src/main.c", tmp_path, stubs=ZEPHYR), kind)


def yaml(text: str) -> Any:
    """Maps, lists of plain items and scalars: the part of YAML that is written here; anything else is refused."""

    def block(lines: list[tuple[int, str]]) -> Any:
        depth = lines[0][0]
        if lines[0][1].startswith("- "):
            assert all(d == depth and text.startswith("- ") for d, text in lines), lines
            return [text[2:].strip('"') for _, text in lines]
        starts = [k for k, (d, _) in enumerate(lines) if d == depth] + [len(lines)]
        found: dict[str, Any] = {}
        for first, end in pairwise(starts):
            match = re.fullmatch(r'([\w.]+):(?: ([^\s"#:{}\[\]&*!|>]+))?', lines[first][1])
            assert match, lines[first]
            assert match[1] not in found
            assert (match[2] is None) == (end > first + 1), lines[first]
            found[match[1]] = match[2] if end == first + 1 else block(lines[first + 1 : end])
        return found

    assert "\t" not in text
    return block([(len(line) - len(line.lstrip()), line.strip()) for line in text.splitlines()])


def test_the_zephyr_module_has_what_zephyr_looks_for(bundles: Mapping[str, Path], model: QuantizedModel) -> None:
    bundle, name = bundles["zephyr"], model.signature.name
    module = yaml((bundle / "zephyr/module.yml").read_text())
    assert module["name"] == name
    assert (bundle / module["build"]["cmake"] / "CMakeLists.txt").is_file()
    kconfig = (bundle / module["build"]["kconfig"]).read_text()
    symbols = set(re.findall(r"^config (\w+)\n\tbool \"[^\"]+\"\n", kconfig, re.MULTILINE))
    assert symbols == {f"EDGE_LSTM_{name.upper()}", f"EDGE_LSTM_{name.upper()}_SELFTEST"}
    assert set(re.findall(r"CONFIG_(\w+)", (bundle / "CMakeLists.txt").read_text())) == symbols
    for folder in module["samples"]:
        sample = bundle / folder / "replay"
        assert {f"CONFIG_{s}=y" for s in symbols} <= set((sample / "prj.conf").read_text().splitlines())
        (test,) = yaml((sample / "testcase.yaml").read_text())["tests"].values()
        assert test["harness"] == "console"
        assert test["harness_config"]["type"] == "multi_line"
        main = (sample / "src/main.c").read_text()
        assert "self-test: %d" in main
        assert test["harness_config"]["regex"] == ["self-test: 0", "scores as on the desktop"]


# --- PlatformIO ------------------------------------------------------------------------------------


@pytest.mark.parametrize("board", [False, True], ids=["native", "board"])
def test_the_platformio_example_finds_the_class(
    board: bool, bundles: Mapping[str, Path], kind: str, tmp_path: Path
) -> None:
    bundle = bundles["platformio"]
    flags = ("-DARDUINO=10819",) if board else ()
    example = bundle / "examples/replay/src/main.cpp"
    said(built(bundle, example, tmp_path, stubs={"Arduino.h": ARDUINO_H}, flags=flags), kind)


def test_the_platformio_library_has_a_manifest_and_a_project(
    bundles: Mapping[str, Path], model: QuantizedModel
) -> None:
    bundle = bundles["platformio"]
    manifest = json.loads((bundle / "library.json").read_text())
    assert {"name", "version", "description", "keywords", "authors", "headers", "examples"} <= manifest.keys()
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", manifest["name"])
    assert len(manifest["name"]) <= 50
    assert len(manifest["description"]) <= 255
    assert (bundle / "include" / manifest["headers"]).is_file()
    for example in manifest["examples"]:
        assert all((bundle / example["base"] / file).is_file() for file in example["files"])
    project = configparser.ConfigParser()
    project.read(bundle / "examples/replay/platformio.ini")
    environments = [name for name in project.sections() if name.startswith("env:")]
    assert all("platform" in project[name] for name in environments)
    assert f"env:{project['platformio']['default_envs']}" in environments
    library, path = project["env"]["lib_deps"].split("=symlink://")
    assert library == model.signature.name
    assert (bundle / "examples/replay" / path).resolve() == bundle.resolve()


# --- CMake -----------------------------------------------------------------------------------------

USER = """
cmake_minimum_required(VERSION 3.15)
project(user LANGUAGES C)
find_package({name} 0.1 REQUIRED)
add_executable(user ${{CMAKE_CURRENT_SOURCE_DIR}}/main.c)
target_link_libraries(user PRIVATE {name}::model {name}::selftest)
"""


def cmake(*arguments: str | Path, tool: str = "cmake") -> str:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_cmake_package_builds_passes_its_tests_and_can_be_installed_and_used(
    bundles: Mapping[str, Path], model: QuantizedModel, tmp_path: Path
) -> None:
    build, prefix, name = tmp_path / "build", tmp_path / "prefix", model.signature.name
    cmake("-S", bundles["cmake"], "-B", build, "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror", "-Werror=dev")
    cmake("--build", build)
    assert "100% tests passed, 0 tests failed out of 2" in cmake("--test-dir", build, tool="ctest")
    cmake("--install", build, "--prefix", prefix)
    main = f'#include "{name}.h"\n#include "{name}_selftest.h"\nint main(void) {{ return {name}_selftest(); }}\n'
    write({"CMakeLists.txt": USER.format(name=name), "main.c": main}, tmp_path / "user")
    cmake("-S", tmp_path / "user", "-B", tmp_path / "used", f"-DCMAKE_PREFIX_PATH={prefix}")
    cmake("--build", tmp_path / "used")
    assert run(tmp_path / "used" / "user").returncode == 0


# --- README, and writing ---------------------------------------------------------------------------


@pytest.mark.parametrize("format", BUNDLE_FORMATS)
def test_the_readme_says_what_goes_in_and_how_to_measure(
    format: str, bundles: Mapping[str, Path], model: QuantizedModel
) -> None:
    text = (bundles[format] / "README.md").read_text()
    for k, (scale, offset) in enumerate(zip(model.input_scale, model.input_offset, strict=True)):
        assert re.search(rf"\| `x\[{k}\]` \| channel{k} \| g \| {offset:.6g} \| {scale:.6g} \|", text)
    assert "`edge-lstm simulate MODEL.elstm --device cortex-m4`" in text
    assert f"{model.signature.name}_normalize(raw, x)" in text
    assert "{{" not in text
    assert "{%" not in text


def test_the_readme_states_what_was_measured(make_quantized: Make, tmp_path: Path) -> None:
    model = make_quantized("hard", hidden=6, inputs=2)
    window = example_samples(model, 1, seed=5)
    export_model(model, format="cmake", out=tmp_path / "out", window=window[0], device="stm32g071rb")
    cost = simulate(model, window, device="cortex-m0plus")
    text = (tmp_path / "out/README.md").read_text()
    table = dict(re.findall(r"^\| ([a-zA-Z:, ]+[a-z]) \| (\d+) \|$", text, re.MULTILINE))
    flash, ram = cost.flash_bytes, cost.ram_bytes
    assert table == {
        "flash: code": str(flash["code"]),
        "flash: tables": str(flash["tables"]),
        "flash: weights": str(flash["weights"]),
        "RAM: state": str(ram["state"]),
        "RAM: scratch": str(ram["scratch"]),
        "stack, at the deepest": str(ram["stack"]),
    }
    assert f"{cost.instructions_per_step.mean:.0f} instructions per step in the mean" in text
    assert "on an emulated cortex-m0plus" in text
    assert "export again with `--raw-scale`" in text


def test_names_of_users_are_no_markup() -> None:
    assert markdown("a|b `c` *d* <e> [f](g)") == r"a\|b \`c\` \*d\* \<e\> \[f\]\(g\)"


def test_a_file_that_somebody_added_to_a_folder_of_a_bundle_is_kept(
    make_quantized: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "is_installed", lambda *_: False)
    model, out = make_quantized("hard", hidden=2, inputs=1), tmp_path / "out"
    written = export_model(model, format="cmake", out=out)
    assert out / "src/m.c" in written
    assert json.loads((out / MANIFEST).read_text()) == [path.relative_to(out).as_posix() for path in written]
    assert export_model(model, format="cmake", out=out) == written
    (out / "src/deep").mkdir()
    (out / "src/deep/mine.c").write_text("mine")
    (out / "src/m.c").write_text("old")
    with pytest.raises(EdgeLstmError, match=r"holds src/deep/mine\.c, which edge-lstm did not write"):
        export_model(model, format="cmake", out=out)
    assert (out / "src/m.c").read_text() == "old"
    export_model(model, format="cmake", out=out, force=True)
    assert (out / "src/deep/mine.c").read_text() == "mine"
    assert (out / "src/m.c").read_text() != "old"
    export_model(model, format="arduino", out=out, force=True)
    assert (out / "src/deep/mine.c").read_text() == "mine"
    assert not (out / "CMakeLists.txt").exists()


@pytest.mark.parametrize("format", ["c99", *BUNDLE_FORMATS])
def test_a_refused_export_leaves_the_folder_as_it_was(format: str, make_quantized: Make, tmp_path: Path) -> None:
    model, out = make_quantized("hard", hidden=2, inputs=1), tmp_path / "out"
    export_model(model, format="integer-onnx", out=out)
    before = {path: path.read_bytes() for path in out.iterdir()}
    for options in ({"raw_scale": [0.0]}, {"flash": 100}, {"device": "none"}):
        with pytest.raises(EdgeLstmError):
            export_model(model, format=format, out=out, **options)
        assert {path: path.read_bytes() for path in out.iterdir()} == before
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_window_is_replayed_by_example_and_selftest(make_quantized: Make, tmp_path: Path) -> None:
    model = make_quantized("hard", hidden=2, inputs=1)
    window = model.input_offset + model.input_scale * np.arange(12)[:, None]
    export_model(model, format="c99", out=tmp_path / "out", window=window)
    assert "\n    { 11}," in (tmp_path / "out/m_example.c").read_text().replace("{11}", "{ 11}")
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11," in (tmp_path / "out/m_selftest.c").read_text()
