"""A model that does not fit on a device is refused, with what would fit; and names that C does not take."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge_lstm.api import C_FORMATS, export_model
from edge_lstm.commands.devices import command as devices
from edge_lstm.commands.export import command as export
from edge_lstm.cost import Cost, simulate
from edge_lstm.errors import EdgeLstmError
from edge_lstm.export import c99
from edge_lstm.export.c99_names import KEYWORDS, LIBRARY, check_name
from edge_lstm.firmware_sim.cores import CORES
from edge_lstm.fitting import check_fits
from edge_lstm.model import QuantizedModel
from edge_lstm.parts import PARTS, Target, target
from edge_lstm.samples import example_samples

Make = Callable[..., QuantizedModel]
SHAPE = {"hidden": 32, "inputs": 6, "steps": 5, "name": "walk"}


@pytest.fixture(scope="module")
def model(make_quantized: Make) -> QuantizedModel:
    return make_quantized("hard", **SHAPE)


def measured(model: QuantizedModel, core: str = "cortex-m0plus") -> Cost:
    return simulate(model, example_samples(model, 1), device=core)


@pytest.fixture(scope="module")
def cost(model: QuantizedModel) -> Cost:
    return measured(model)


def refusal(model: QuantizedModel, cost: Cost, **limits: int) -> str:
    with pytest.raises(EdgeLstmError) as error:
        check_fits(model, cost, Target("board", "cortex-m0plus", **limits))
    return str(error.value)


def test_what_fits_to_the_byte_is_accepted(model: QuantizedModel, cost: Cost) -> None:
    flash, ram = cost.flash_bytes["total"], cost.ram_bytes["total"]
    check_fits(model, cost, Target("board", "cortex-m0plus"))
    check_fits(model, cost, Target("board", "cortex-m0plus", flash, ram))
    message = refusal(model, cost, flash=flash - 1, ram=ram)
    assert message.startswith(
        f"walk does not fit on board: it needs {flash:,} bytes of flash, 1 more than the {flash - 1:,} there are; "
        "what would fit: weights of 4 bits (about "
    )
    message = refusal(model, cost, flash=flash, ram=ram - 1)
    wanted = f"it needs {ram:,} bytes of RAM with stack, 1 more than the {ram - 1:,} there are; what would fit: about "
    assert wanted in message
    assert "bits" not in message  # narrower weights take no less RAM
    assert " bytes of flash, 7 more than " in refusal(model, cost, flash=flash - 7, ram=ram - 7)
    assert " and " in refusal(model, cost, flash=flash - 7, ram=ram - 7)
    assert refusal(model, cost, flash=50).endswith("; nothing smaller of this kind would fit")


def test_what_is_said_to_fit_is_near_the_truth(model: QuantizedModel, cost: Cost, make_quantized: Make) -> None:
    """Estimates: kernels of other widths, and of other numbers of units, have other code."""
    limit = 6 * cost.flash_bytes["total"] // 10 + 1500
    message = refusal(model, cost, flash=limit)
    for bits, said in re.findall(r"weights of (\d) bits \(about ([\d,]+) bytes of flash\)", message):
        actual = measured(make_quantized("hard", weight_bits=int(bits), **SHAPE)).flash_bytes["total"]
        assert int(said.replace(",", "")) == pytest.approx(actual, rel=0.15)
    units = int(re.search(r"about (\d+) hidden units instead of 32", message)[1])  # type: ignore[index]
    smaller = measured(make_quantized("hard", **SHAPE | {"hidden": units})).flash_bytes["total"]
    assert 0.75 * limit < smaller < 1.05 * limit


def test_a_target_is_a_part_or_a_core_with_limits_of_ones_own() -> None:
    assert target() == Target("cortex-m4", "cortex-m4")
    assert target("cortex-m3", ram=100) == Target("cortex-m3", "cortex-m3", None, 100)
    assert target("stm32f103c8") == Target("stm32f103c8", "cortex-m3", 65536, 20480)
    assert target("stm32f103c8", flash=1000) == Target("stm32f103c8", "cortex-m3", 1000, 20480)
    assert {part.core for part in PARTS.values()} == set(CORES)
    assert not PARTS.keys() & CORES.keys()
    with pytest.raises(EdgeLstmError, match=r"unknown device 'z80'; known are the cores cortex-m0plus, .* and stm32"):
        target("z80")
    with pytest.raises(EdgeLstmError, match="ram is 0 bytes; accepted are 1 and more"):
        target(ram=0)


# --- the command -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(model: QuantizedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "walk.elstm"
    model.save(path)
    return path


def called(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(export, [str(file), "--format", "c99", *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "stm32l031k6", "--flash", "4000"), "walk does not fit on stm32l031k6: it needs "),
        (("--ram", "200"), "walk does not fit on cortex-m4: it needs "),
        (("--device", "avr"), "unknown device 'avr'; known are the cores "),
        (
            ("--name", "main"),
            "a model can't be called 'main' in C: that is a name of ",
        ),
        (
            ("--name", "_walk"),
            "model name '_walk': accepted are up to 48 lower-case letters, digits and _, ",
        ),
        (("--name", "Geh-Test"), "model name 'Geh-Test': accepted are up to 48 lower-case letters, digits and _"),
        (("--raw-scale", "1,2"), "raw_scale has 2 numbers; accepted are 1, or 6: one for each channel"),
    ],
)
def test_the_command_refuses_and_writes_nothing(
    arguments: tuple[str, ...], message: str, file: Path, tmp_path: Path
) -> None:
    done = called(file, "--out", str(tmp_path / "out"), *arguments)
    assert isinstance(done.exception, EdgeLstmError)
    assert str(done.exception).startswith(message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--raw-scale", "big"), "'big' is not a number, or numbers with commas between them."),
        (("--raw-offset", "1"), "--raw-offset needs --raw-scale"),
        (("--flash", "0"), "0 is not in the range x>=1."),
        (("--format", "integer-onnx", "--input", "x.npz"), "--input is what C replays; format integer-onnx has none"),
    ],
)
def test_bad_usage_is_told_apart(arguments: tuple[str, ...], message: str, file: Path, tmp_path: Path) -> None:
    done = called(file, "--out", str(tmp_path / "out"), *arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_options_of_c_are_refused_for_other_formats(model: QuantizedModel, tmp_path: Path) -> None:
    for options in ({"raw_scale": [1.0]}, {"device": "cortex-m4"}, {"flash": 10**6}, {"ram": 10**6}):
        with pytest.raises(EdgeLstmError, match="of C; format integer-onnx has none of them"):
            export_model(model, format="integer-onnx", out=tmp_path / "out", **options)


def test_a_model_that_fits_is_exported_with_another_name_and_raw_samples(file: Path, tmp_path: Path) -> None:
    options = ("--device", "stm32l432kc", "--name", "gait", "--raw-scale", "0.0006", "--raw-offset", "0.1", "--json")
    done = called(file, "--out", str(tmp_path / "out"), *options)
    assert done.exit_code == 0, done.output
    names = ["gait.c", "gait.h", "gait_example.c", "gait_selftest.c", "gait_selftest.h"]
    assert json.loads(done.stdout) == {"files": [str(tmp_path / "out" / name) for name in names]}
    assert " *   channel0: 0.1 + 0.0006 * r g\n" in (tmp_path / "out/gait.h").read_text()


def test_devices_lists_parts() -> None:
    found = json.loads(CliRunner().invoke(devices, ["--json"]).stdout)["parts"]
    assert {"name": "nrf52832", "core": "cortex-m4", "flash": 524288, "ram": 65536} in found
    assert all(part.name in CliRunner().invoke(devices).stdout for part in PARTS.values())


# --- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("int", "a keyword"),
        ("class", "a keyword"),
        ("restrict", "a keyword"),
        ("co_await", "a keyword"),
        ("printf", "a name of the standard library"),
        ("main", "a name of the standard library"),
        ("sinf", "a name of the standard library"),
        ("uint8_t", "a name of the standard library"),
    ],
)
@pytest.mark.parametrize("format", C_FORMATS)
def test_a_reserved_word_is_refused(format: str, name: str, what: str, make_quantized: Make, tmp_path: Path) -> None:
    model = make_quantized("hard", hidden=2, inputs=1, name=name)
    with pytest.raises(EdgeLstmError) as error:
        export_model(model, format=format, out=tmp_path / "out")
    assert str(error.value) == (
        f"a model can't be called {name!r} in C: that is {what} of C or C++; another name is accepted (--name)"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_words_are_lower_case_as_names_are_and_others_are_accepted() -> None:
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", word) for word in KEYWORDS | LIBRARY)
    for name in ("basic_motions", "print", "klass", "integer", "m", "main_2", "x"):
        check_name(name)


def test_a_reserved_word_is_no_obstacle_to_onnx(make_quantized: Make, tmp_path: Path) -> None:
    model = make_quantized("hard", hidden=2, inputs=1, name="int")
    assert [p.name for p in export_model(model, format="integer-onnx", out=tmp_path / "o")] == ["int_integer.onnx"]
    assert "int.c" in c99.sources(model)  # which verify runs
