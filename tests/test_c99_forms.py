"""The generated C of every form of a model: against NumPy, on this computer and on emulated cores, and its promises.

Each form has a model of its own name, so that compilers take all of them at once.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FORMS

from edge_lstm.backends import backend
from edge_lstm.cost import simulate
from edge_lstm.errors import EdgeLstmError
from edge_lstm.execution import Execution
from edge_lstm.export import c99
from edge_lstm.firmware_sim import host
from edge_lstm.firmware_sim.cores import CORES
from edge_lstm.firmware_sim.elf import Image
from edge_lstm.firmware_sim.isa import forbidden_instructions
from edge_lstm.firmware_sim.toolchain import compile_device, compile_host
from edge_lstm.lower import lower
from edge_lstm.model import QuantizedModel
from edge_lstm.runtime import execute

MakeQuantized = Callable[..., QuantizedModel]
WARNINGS = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow"]
ZIG = [sys.executable, "-m", "ziglang"]
C_COMPILERS = {"zig": [*ZIG, "cc"], "gcc": ["gcc"]}
CPP_COMPILERS = {"zig": [*ZIG, "c++"], "g++": ["g++"]}
SHORT = 5
"""Steps of windows on emulated cores."""


def model_of(form: str, make: MakeQuantized, **options: Any) -> QuantizedModel:
    """Soft and hard gates alternate; the name is that of the form."""
    gates = "hard" if list(FORMS).index(form) % 2 else "soft"
    model = make(form, gates, **options)
    return replace(model, signature=replace(model.signature, name="f_" + form.replace(" ", "_")))


@pytest.fixture(scope="module")
def models(make_quantized_form: MakeQuantized) -> Mapping[str, QuantizedModel]:
    return {form: model_of(form, make_quantized_form) for form in FORMS}


@pytest.fixture(scope="module")
def windowed(models: Mapping[str, QuantizedModel]) -> list[QuantizedModel]:
    """Those that look at whole windows."""
    return [model for model in models.values() if not lower(model).streams]


def assert_equal(found: Execution, wanted: Execution) -> None:
    for part in ("trace", "outputs", "state"):
        here, there = getattr(found, part), getattr(wanted, part)
        assert set(here) == set(there), part
        for name, values in there.items():
            assert here[name].shape == values.shape, name
            assert np.issubdtype(here[name].dtype, np.int32), name
            assert np.array_equal(here[name], values), name


def test_this_computer_gives_the_integers_of_numpy(
    form: str, models: Mapping[str, QuantizedModel], make_windows: Any, make_lengths: Any
) -> None:
    """Every intermediate; and, under sanitizers, the results of the code that ships."""
    model = models[form]
    x = make_windows(model, 12, seed=4)
    lengths = make_lengths(model, len(x), 12)
    wanted = execute(model, x, trace="all", lengths=lengths)
    assert len(wanted.trace) > 8
    assert_equal(host.execute(model, x, trace="all", lengths=lengths), wanted)
    assert_equal(host.execute(model, x, lengths=lengths, sanitize=True), replace(wanted, trace={}))


@pytest.mark.parametrize(
    "chosen", ["variable bidirectional", "decoder variable", "variable each", "variable attention"]
)
def test_states_alone_are_recorded(
    chosen: str, models: Mapping[str, QuantizedModel], make_windows: Any, make_lengths: Any
) -> None:
    """Windows are shorter than the model's."""
    model = models[chosen]
    x = make_windows(model, 9, seed=6)
    lengths = make_lengths(model, len(x), 9)
    wanted = execute(model, x, trace="states", lengths=lengths)
    assert_equal(host.execute(model, x, trace="states", lengths=lengths), wanted)


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus"])
@pytest.mark.parametrize("chosen", list(FORMS)[::2])
def test_a_core_gives_the_integers_of_numpy(
    chosen: str, core: str, make_quantized_form: MakeQuantized, make_windows: Any, make_lengths: Any
) -> None:
    model = model_of(chosen, make_quantized_form, steps=SHORT)
    x = make_windows(model, SHORT, seed=5)
    lengths = make_lengths(model, len(x), SHORT)
    wanted = execute(model, x, trace="all", lengths=lengths)
    assert_equal(backend(core)(model, x, trace="all", lengths=lengths), wanted)


@pytest.mark.parametrize("chosen", list(FORMS)[1::2])
def test_a_core_gives_the_results_of_numpy(
    chosen: str, make_quantized_form: MakeQuantized, make_windows: Any, make_lengths: Any
) -> None:
    """With the code that ships."""
    model = model_of(chosen, make_quantized_form, steps=SHORT)
    x = make_windows(model, SHORT, seed=5)
    lengths = make_lengths(model, len(x), SHORT)
    assert_equal(backend("cortex-m4")(model, x, lengths=lengths), execute(model, x, lengths=lengths))


@pytest.mark.parametrize("chosen", ["variable bidirectional attention", "decoder stack"])
def test_packed_weights_and_wide_sequences(
    chosen: str,
    make_quantized_form: MakeQuantized,
    make_windows: Any,
    make_lengths: Any,
) -> None:
    model = model_of(chosen, make_quantized_form, weight_bits=4, activation_bits=16)
    x = make_windows(model, 12)
    lengths = make_lengths(model, len(x), 12)
    wanted = execute(model, x, trace="all", lengths=lengths)
    assert_equal(host.execute(model, x, trace="all", lengths=lengths, sanitize=True), wanted)


# --- what compilers say ----------------------------------------------------------------------------


def write(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write files; the paths of the C sources among them."""
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts if name.endswith(".c")]


def sources_of(models: list[QuantizedModel]) -> dict[str, str]:
    return {name: text for model in models for name, text in c99.sources(model).items()}


def example_of(model: QuantizedModel, *, wrong: int = 0) -> dict[str, str]:
    shape = (model.signature.steps, len(model.signature.channels))
    window = np.random.default_rng(0).integers(-127, 128, shape).astype(np.int32)
    scores = execute(model, window[None]).outputs["scores"][0].copy()
    scores[-1] += wrong
    return c99.example(model, window, scores)


def compiled(command: list[str], folder: Path, *arguments: str) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("compiler", C_COMPILERS)
def test_it_compiles_without_a_warning(compiler: str, models: Mapping[str, QuantizedModel], tmp_path: Path) -> None:
    command = [*C_COMPILERS[compiler], "-std=c99", *WARNINGS, "-O1"]
    sources = write(sources_of(list(models.values())), tmp_path)
    compiled(command, tmp_path, "-shared", "-fPIC", *(s.name for s in sources), "-o", "all.so")
    for form in EXAMPLES:
        (source,) = write(example_of(models[form]), tmp_path)
        compiled(command, tmp_path, "-c", source.name)


def test_any_name_will_do(models: Mapping[str, QuantizedModel], tmp_path: Path) -> None:
    model, texts = models["variable each"], {}
    for name in ("records", "trace", "run", "t", "head", "stage0", "output_scores", "lstm0_h_steps"):
        texts |= c99.sources(replace(model, signature=replace(model.signature, name=name)), trace="all")
    sources = write(texts, tmp_path)
    compiled(C_COMPILERS["zig"], tmp_path, "-std=c99", *WARNINGS, "-shared", *(s.name for s in sources), "-o", "all.so")


@pytest.mark.parametrize("compiler", CPP_COMPILERS)
def test_it_is_also_cpp(compiler: str, windowed: list[QuantizedModel], tmp_path: Path) -> None:
    user = ""
    for model in windowed:
        name = model.signature.name
        user += f'#include "{name}.h"\n#include "{name}.h"\n'
        user += f"int8_t {name}_x[{name.upper()}_STEPS * {name.upper()}_CHANNELS];\n"
        user += f"{name}_scratch {name}_memory;\n{name}_output {name}_results;\n"
    calls = [
        f"{m.signature.name}_run(&{m.signature.name}_memory, {m.signature.name}_x, {m.signature.steps}, "
        f"&{m.signature.name}_results)"
        for m in windowed
    ]
    write({**sources_of(windowed), "user.cpp": f"{user}int main() {{ return {' + '.join(calls)}; }}\n"}, tmp_path)
    names = [f"{model.signature.name}.c" for model in windowed]
    compiled(CPP_COMPILERS[compiler], tmp_path, "-x", "c++", "-std=c++11", *WARNINGS, "-c", "user.cpp", *names)


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus"])
def test_its_machine_code_needs_nothing_that_the_core_lacks(
    core: str, windowed: list[QuantizedModel], tmp_path: Path
) -> None:
    sources = write(sources_of(windowed), tmp_path)
    entries = [f"{model.signature.name}_run" for model in windowed]
    image = compile_device(CORES[core], sources, tmp_path / "m.elf", include_dirs=[tmp_path], entry_points=entries)
    found = Image.read(image)
    assert set(entries) <= {s.name for s in found.symbols}
    assert forbidden_instructions(found, CORES[core]) == []


def test_it_names_no_float_no_64_bit_type_and_no_heap(windowed: list[QuantizedModel]) -> None:
    for model in windowed:
        text = re.sub(r"/\*.*?\*/", "", "".join(c99.sources(model).values()), flags=re.DOTALL)
        words = set(re.findall(r"[A-Za-z_]\w*", text))
        assert not words & {"double", "float", "long", "int64_t", "uint64_t", "malloc", "calloc", "realloc", "memcpy"}
        assert set(re.findall(r"#include (\S+)", text)) == {f'"{model.signature.name}.h"', "<stdint.h>"}
        code = re.sub(r'"[^"\n]*"', '""', text)  # assembly has its own use of %
        assert not re.search(r"\d\.\d|\d[eE][-+\d]|[^=!<>]/|%", code)


@pytest.mark.parametrize("core", [None, "cortex-m0plus", "cortex-m3", "cortex-m4"])
def test_memory_is_what_the_compilers_take(
    core: str | None, models: Mapping[str, QuantizedModel], tmp_path: Path
) -> None:
    """On the host, and on cores with and without kernels."""
    kernels = None if core is None else CORES[core].kernels
    text, sizes = "int f(void);\nint f(void) { return 1; }\n", {}
    for model in models.values():
        name = model.signature.name
        found = c99.memory(model, kernels)
        assert (found["state"] == 0) == (not lower(model).streams)
        parts = {f"{name}_{part}": size for part, size in found.items() if size}
        text = f'#include "{name}.h"\n{text}' + "".join(
            f"typedef char check_{k}[sizeof({k}) == {v} ? 1 : -1];\n{k} the_{k} = {{0}};\n" for k, v in parts.items()
        )
        sizes |= parts
    write({**sources_of(list(models.values())), "sizes.c": text}, tmp_path)
    if core is None:
        compiled(C_COMPILERS["zig"], tmp_path, "-std=c99", "-Wno-missing-braces", "-c", "sizes.c")
        return
    entries = ["f", *(f"the_{k}" for k in sizes)]
    image = compile_device(CORES[core], [tmp_path / "sizes.c"], tmp_path / "s.elf", entry_points=entries)
    in_memory = {s.name: s.size for s in Image.read(image).symbols}
    assert {k: in_memory[f"the_{k}"] for k in sizes} == sizes


def test_only_what_is_read_later_is_kept_of_every_step(models: Mapping[str, QuantizedModel]) -> None:
    kept = {
        "bidirectional": set(),
        "bidirectional attention": {"int8_t lstm0_h_steps", "int8_t lstm1_h_steps"},
        "bidirectional each": {"int8_t lstm0_h_steps"},
        "variable each": {"int8_t lstm0_h_steps"},
        "there and back": {"int8_t lstm_19970_h_steps", "int8_t gru_after1_h_steps"},
        "decoder": set(),
    }
    for form, members in kept.items():
        header = next(text for name, text in c99.sources(models[form]).items() if name.endswith(".h"))
        assert set(re.findall(r"    (\w+ \w+_steps)\[", header)) == members, form


def test_symbols_are_sorted_into_weights_tables_and_code(models: Mapping[str, QuantizedModel]) -> None:
    kinds = {
        "lstm1_W_i": "weights",
        "dense_D": "weights",
        "lstm1_tanh_c": "tables",
        "run": "code",
        "stage1": "code",
    }
    name = models["decoder"].signature.name
    assert {k: c99.symbol_category(models["decoder"], f"{name}_{k}") for k in kinds} == kinds
    begun = models["bidirectional initial"]
    assert c99.symbol_category(begun, f"{begun.signature.name}_cifg1_c_initial") == "weights"


# --- what it does ----------------------------------------------------------------------------------

PROBE = """
#include <string.h>

static int {name}_same(int32_t steps)
{{
    static {name}_scratch scratch, scratch_before;
    static {name}_output output, output_before;
    static int8_t x[{NAME}_STEPS * {NAME}_CHANNELS];
    memset(&scratch, 0x5a, sizeof scratch);
    memset(&output, 0x5a, sizeof output);
    scratch_before = scratch;
    output_before = output;
    return {name}_run(&scratch, x, steps, &output) == -1 && !memcmp(&scratch, &scratch_before, sizeof scratch)
        && !memcmp(&output, &output_before, sizeof output);
}}
"""


def test_wrong_numbers_of_steps_are_refused_and_touch_nothing(windowed: list[QuantizedModel], tmp_path: Path) -> None:
    headers, probes, checks = "#include <stdio.h>\n", "", ""
    for model in windowed:
        name, steps = model.signature.name, model.signature.steps
        headers += f'#include "{name}.h"\n'
        probes += PROBE.format(name=name, NAME=name.upper())
        wrong = [0, -1, steps + 1, "-2147483647 - 1", 2147483647, *([1, steps - 1] if model.pool else [])]
        right = [steps] if model.pool else [1, steps]
        checks += "".join(f'    if (!{name}_same({s})) puts("{name} takes {s}");\n' for s in wrong)
        checks += "".join(f'    if ({name}_same({s})) puts("{name} refuses {s}");\n' for s in right)
    main = f"{headers}{probes}\nint main(void)\n{{\n{checks}    return 0;\n}}\n"
    sources = write({**sources_of(windowed), "main.c": main}, tmp_path)
    program = compile_host(sources, tmp_path / "main", optimize="-O1")
    done = subprocess.run([program], capture_output=True, timeout=60, check=True)
    assert done.stdout.decode() == ""


EXAMPLES = {
    "bidirectional": r"class \d \(class\d\): {}",
    "variable bidirectional": r"class \d \(class\d\): {}",
    "bidirectional each": "{right} of 12 steps: {}",
    "each softmax": "{right} of 12 steps: {}",
    "decoder": "{right} of 7 steps: {}",
    "decoder stack": "{right} of 5 steps: {}",
}


@pytest.mark.parametrize("wrong", [0, 1], ids=["right", "wrong"])
@pytest.mark.parametrize("chosen", EXAMPLES)
def test_the_example_replays_a_window(
    chosen: str, wrong: int, models: Mapping[str, QuantizedModel], tmp_path: Path
) -> None:
    model = models[chosen]
    sources = write({**c99.sources(model), **example_of(model, wrong=wrong)}, tmp_path)
    program = compile_host(sources, tmp_path / "example", optimize="-O1")
    done = subprocess.run([program], capture_output=True, timeout=60, check=False)
    assert done.returncode == wrong
    steps = int(re.search(r"\d+|$", EXAMPLES[chosen].partition(" of ")[2])[0] or 0)  # type: ignore[index]
    said = EXAMPLES[chosen].format("WRONG SCORES" if wrong else "scores as on the desktop", right=steps - wrong)
    assert re.fullmatch(said, done.stdout.decode().strip())


@pytest.mark.parametrize(
    ("chosen", "steps", "message"),
    [
        ("bidirectional", 13, "windows of 13 steps; f_bidirectional, which looks at whole windows, takes at most 12"),
        ("bidirectional mean", 5, "a window of 5 steps; the C of f_bidirectional_mean takes 12: its mean is fixed"),
    ],
)
def test_windows_that_the_c_does_not_take(
    chosen: str, steps: int, message: str, models: Mapping[str, QuantizedModel]
) -> None:
    model = models[chosen]
    x = np.zeros((1, steps, 3), np.int32)
    for function in (
        lambda: host.execute(model, x),
        lambda: backend("cortex-m4")(model, x),
        lambda: c99.example(model, x[0], np.zeros(4, np.int32)),
        lambda: simulate(model, x.astype(float)),
    ):
        with pytest.raises(EdgeLstmError) as error:
            function()
        assert str(error.value) == message


def test_a_window_must_have_no_state(models: Mapping[str, QuantizedModel]) -> None:
    model = models["bidirectional"]
    x = np.zeros((1, 12, 3), np.int32)
    with pytest.raises(EdgeLstmError, match="a state is given, and the model looks at whole windows"):
        host.execute(model, x, state=execute(model, x).state)


def test_the_header_says_what_there_is(models: Mapping[str, QuantizedModel]) -> None:
    def header(form: str) -> str:
        return c99.sources(models[form])[f"{models[form].signature.name}.h"]

    assert "One unit of a probability is 2^-15." in header("softmax")
    assert "probability" not in header("each")
    assert "some not zero" in header("initial")
    assert "every state is zero" in header("each")
    assert "F_VARIABLE_STEPS 12 /* time steps of a window, at most */" in header("variable")
    assert "F_DECODER_OUTPUT_STEPS 7 /* steps that have outputs: those of the decoder */" in header("decoder")
    assert "F_VARIABLE_EACH_OUTPUT_STEPS F_VARIABLE_EACH_STEPS /*" in header("variable each")
    assert "F_BIDIRECTIONAL_MEAN_STEPS: the mean is over so many" in header("bidirectional mean")
    assert header("bidirectional").startswith(
        "/* f_bidirectional.h: reversed lstm of 6 units (i hard, f hard, o hard) "
        "beside lstm of 6 units (i hard, f hard, o hard); last pooling\n"
    )


# --- what it costs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", ["variable bidirectional", "decoder", "each"])
def test_what_a_window_costs(chosen: str, models: Mapping[str, QuantizedModel], make_lengths: Any) -> None:
    model = models[chosen]
    x = np.random.default_rng(0).normal(0, 1, (3, 12, 3))
    lengths = make_lengths(model, 3, 12)
    steps = 36 if lengths is None else int(lengths.sum())
    cost = simulate(model, x, lengths=lengths, device="cortex-m0plus")
    assert cost.steps == steps
    memory = c99.memory(model, CORES["cortex-m0plus"].kernels)
    assert {part: cost.ram_bytes[part] for part in memory} == memory
    executed = cost.instructions_per_window.mean * 3
    assert executed == pytest.approx(sum(cost.instructions_by_function.values()) * steps, rel=1e-12)
    if lower(model).streams:
        a_step = cost.instructions_per_step.mean + cost.instructions_per_result.mean
        assert executed == pytest.approx(a_step * steps, rel=1e-12)
    else:
        assert cost.instructions_per_result.max == 0
        assert cost.instructions_per_step.max <= cost.instructions_per_window.max
    assert cost.instructions_per_window.max == int(cost.instructions_per_window.max)
    trace = execute(model, model.quantize_input(x), trace="states", lengths=lengths).trace
    nonzero = sum(int(np.count_nonzero(v)) for name, v in trace.items() if name.endswith(".h"))
    of_decoder = sum(v.size for name, v in trace.items() if name.endswith(".h") and v.shape[1] == 7)
    layers = sum(layer.outputs for layer in model.layers)
    assert cost.nonzero_hidden == nonzero / (layers * steps + of_decoder)


def test_a_shorter_window_costs_less(models: Mapping[str, QuantizedModel]) -> None:
    model = models["variable bidirectional"]
    x = np.zeros((1, 12, 3))
    long, short = (simulate(model, x, lengths=[n], device="cortex-m0plus") for n in (12, 6))
    assert short.instructions_per_window.max < 0.6 * long.instructions_per_window.max
    assert set(long.to_json()) == set(simulate(models["variable"], x).to_json())
