"""Files of graphs, all of which may be hostile: what loads can be run, and anything else is refused in one line."""

from __future__ import annotations

import copy
import json
import random
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_graph_models import GraphMaker
from safetensors.numpy import save as serialize

from edge_lstm.codec import content_digest, digest, encode
from edge_lstm.errors import EdgeLstmError
from edge_lstm.integer_graph.model import QuantizedGraph
from edge_lstm.integer_model import IntegerModel
from edge_lstm.lower import lower
from edge_lstm.runtime import execute
from edge_lstm.storage import load

Tensors = dict[str, np.ndarray]
Change = Callable[[dict[str, Any], Tensors], None]
VECTORS = json.loads((Path(__file__).parent / "golden" / "graph_vectors.json").read_text(encoding="utf-8"))
CASES = {case["name"]: case for case in VECTORS["cases"]}
MUTATED = (
    "everything",
    "encoder_and_decoder",
    "moved_and_filtered",
    "two_values",
    "rows_of_tables",
    "masked_beginnings",
)
EACH = 420
LONGEST = 10.0
"""Seconds that one file may take, on a computer that does other things too."""
MEMORY = 2 * 2**20
"""KiB that all files together may take."""
WORK = 300_000
"""Instructions that are executed of one file; where there are more it is lowered only."""


def graph(name: str) -> QuantizedGraph:
    return GraphMaker(VECTORS).graph(CASES[name])


def write(path: Path, data: Any, tensors: Tensors) -> Path:
    """A file whose checksum is right."""
    content = json.dumps(data)
    sealed = {"format": "edge-lstm", "version": "1", "kind": "quantized-graph", "content": content}
    path.write_bytes(serialize(tensors, metadata={**sealed, "sha256": content_digest(content, tensors)}))
    return path


def craft(path: Path, model: QuantizedGraph, change: Change = lambda *_: None) -> Path:
    """A file of a changed graph."""
    content, tensors = encode(model)
    data = json.loads(content)
    change(data, tensors)
    return write(path, data, tensors)


def refused(path: Path) -> str:
    """The one line that refuses a file, without the file's name in front."""
    with pytest.raises(EdgeLstmError) as error:
        load(path)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def test_the_crafted_file_is_accepted_when_nothing_is_changed(tmp_path: Path) -> None:
    for name in MUTATED:
        assert digest(load(craft(tmp_path / name, graph(name)))) == digest(graph(name))


# --- one thing that is wrong -----------------------------------------------------------------------


def at(node: int, **fields: Any) -> Change:
    """Other fields of a node."""

    def change(data: dict[str, Any], _tensors: Tensors) -> None:
        data["nodes"][node] |= fields

    return change


def node(place: int, **fields: Any) -> Change:
    """Another node."""

    def change(data: dict[str, Any], _tensors: Tensors) -> None:
        data["nodes"][place] = fields

    return change


def tensor(name: str, value: np.ndarray) -> Change:
    """Another tensor."""

    def change(_data: dict[str, Any], tensors: Tensors) -> None:
        assert name in tensors
        tensors[name] = value

    return change


def kinds_of(name: str) -> list[str]:
    return ["samples", *(given["kind"] for given in CASES[name]["nodes"])]


def first(name: str, kind: str) -> int:
    return kinds_of(name).index(kind)


FILTER, CONV = first("moved_and_filtered", "moved"), first("everything", "affine")
STEP, SUM, NORM = first("encoder_and_decoder", "at"), first("everything", "reduced"), first("everything", "normalized")
DECODER = len(kinds_of("encoder_and_decoder")) - 2
COMBINED, ROWS, PICK = (
    first("two_values", "combine"),
    first("rows_of_tables", "rows"),
    first("encoder_and_decoder", "pick"),
)
LARGEST, REPEATED = first("everything", "largest"), first("encoder_and_decoder", "repeated")
ONES = np.ones(4, np.int32)
WRONG: dict[str, tuple[str, Change, str]] = {
    "a source out of order": ("everything", at(CONV, source=9), "node 1 of a graph reads (9,); accepted are nodes"),
    "a negative source": ("everything", at(CONV, source=-1), "node 1 of a graph reads (-1,); accepted are nodes"),
    "a node reads itself": ("everything", at(CONV, source=CONV), "node 1 of a graph reads (1,)"),
    "samples twice": ("everything", node(3, channels=3), "node 3 of a graph reads ()"),
    "no samples": ("everything", node(0, source=0, step=1), "node 0 of a graph reads (0,)"),
    "other samples": ("everything", at(0, channels=2), "the samples of a graph have 2 channels, and its signature 3"),
    "two kinds at once": ("everything", at(LARGEST, count=3), "nodes.2."),
    "a field is missing": ("everything", node(LARGEST, source=1), "nodes.2."),
    "no kind": ("everything", node(LARGEST), "nodes.2."),
    "huge taps": ("everything", at(CONV, taps=10**9), "a filter has 1000000000 taps"),
    "many taps": (
        "everything",
        at(CONV, taps=65536, pads=[65536, 65536]),
        "node 1 (affine): a filter of 65536 steps of",
    ),
    "a huge stride": ("everything", at(CONV, stride=10**12), "a filter has 3 taps, stride 1000000000000"),
    "no stride": ("everything", at(CONV, stride=0), "a filter has 3 taps, stride 0"),
    "a long filter": ("everything", at(CONV, dilation=60000), "node 1 (affine): a filter of 120001 steps on 16"),
    "huge pads": ("everything", at(CONV, pads=[10**9, 0]), "a filter has pads of (1000000000, 0)"),
    "negative pads": ("everything", at(CONV, pads=[0, -1]), "a filter has pads of (0, -1)"),
    "pads that are all": ("everything", at(LARGEST, pads=[0, 2]), "the largest of 2 steps has pads of (0, 2)"),
    "more taps than weights": (
        "everything",
        at(CONV, taps=2),
        "node 1 (affine): golden.step: affine1.a (matvec): its weights",
    ),
    "no weights": ("everything", tensor("nodes.1.weights", np.zeros((0, 9), np.int8)), "the weights of a filter are"),
    "other weights": ("everything", tensor("nodes.1.weights", np.ones((4, 8), np.int8)), "node 1 (affine): golden."),
    "weights of three axes": ("everything", tensor("nodes.1.weights", np.ones((4, 3, 3), np.int8)), "the weights of a"),
    "weights of other bits": ("everything", at(CONV, weight_bits=2), "a filter has a weight of"),
    "weights of another type": ("everything", tensor("nodes.1.weights", np.ones((4, 9), np.int16)), "nodes.1."),
    "another bias": ("everything", tensor("nodes.1.bias", np.ones(5, np.int32)), "the bias of a filter has shape (5,)"),
    "a depthwise filter": ("everything", at(CONV, depthwise=True), "node 1 (affine): a depthwise filter is (4, 9)"),
    "other multipliers": (
        "everything",
        tensor("nodes.1.finish.requantize.multiplier", np.ones(3, np.int32)),
        "the multipliers of a node has shape (3,), and must have (4,)",
    ),
    "units that are no numbers": (
        "everything",
        tensor("units.0", np.full(3, np.nan)),
        "node 0 (samples): its units hold",
    ),
    "units of others": ("everything", tensor("units.1", np.ones(3)), "node 1 (affine): its units has shape (3,)"),
    "factors of two axes": (
        "everything",
        tensor(f"nodes.{NORM}.factor", np.ones((4, 1), np.int32)),
        "the factors of a",
    ),
    "factors of others": (
        "two_values",
        tensor(f"nodes.{COMBINED}.left_factor", ONES),
        "the factors of a node are (4,)",
    ),
    "a huge shift": ("everything", at(NORM, shift=31), "a normalization has the shift 31"),
    "no epsilon": ("everything", at(NORM, epsilon=0), "a normalization has the shift 2 and the epsilon 0"),
    "an unknown reduction": ("everything", at(SUM, over_time="mean"), f"nodes.{SUM}."),
    "a vector is reduced": (
        "everything",
        node(SUM + 1, source=SUM, over_time="max"),
        f"node {SUM + 1} reduces a vector",
    ),
    "a step beyond the end": ("encoder_and_decoder", at(STEP, step=8), f"node {STEP} (at): step 8 of 8 is taken"),
    "a negative step": ("encoder_and_decoder", at(STEP, step=-1), f"node {STEP} (at): step -1 of 8 is taken"),
    "many repeats": ("encoder_and_decoder", at(REPEATED, count=10**9), "a vector is repeated 1000000000 times"),
    "a sequence is repeated": (
        "encoder_and_decoder",
        at(REPEATED, source=1),
        f"node {REPEATED} (repeated): a sequence",
    ),
    "no features": ("encoder_and_decoder", at(PICK, columns=[]), "features () are taken"),
    "a negative feature": ("encoder_and_decoder", at(PICK, columns=[0, -1]), "features (0, -1) are taken"),
    "a feature too many": ("encoder_and_decoder", at(PICK, columns=[0, 99]), f"node {PICK} (pick): feature 99 of 12"),
    "begins with itself": (
        "encoder_and_decoder",
        at(DECODER, begins={"0.h": DECODER}),
        f"node {DECODER} of a graph reads",
    ),
    "begins with a sequence": ("encoder_and_decoder", at(DECODER, begins={"0.h": 1}), f"node {DECODER} (layers): 0.h"),
    "begins a state that is not": ("encoder_and_decoder", at(DECODER, begins={"9.h": STEP}), "state '9.h' begins with"),
    "no layers": ("encoder_and_decoder", at(DECODER, layers=[], begins={}), "a node has 0 layers"),
    "nothing is joined": ("moved_and_filtered", node(2, parts=[]), "nothing is joined"),
    "no steps": ("moved_and_filtered", at(FILTER, steps=0), "0 steps are taken"),
    "far steps": ("moved_and_filtered", at(FILTER, stride=65536, steps=65536), "65536 steps are taken, 65536 apart"),
    "a table of one axis": (
        "rows_of_tables",
        tensor(f"nodes.{ROWS}.table", np.ones(9, np.int16)),
        "a table of rows is (9,)",
    ),
    "no rows": (
        "rows_of_tables",
        tensor(f"nodes.{ROWS}.table", np.ones((0, 3), np.int16)),
        "a table of rows is (0, 3)",
    ),
    "rows by two numbers": ("rows_of_tables", at(ROWS, source=0), f"node {ROWS} (rows): a row is named by one feature"),
    "other scores": (
        "two_values",
        lambda data, _: data["signature"]["classes"].pop(),
        "it has 3 scores, which a graph",
    ),
    "windows of other lengths": (
        "everything",
        lambda data, _: data["signature"].update(variable=True),
        "a graph takes",
    ),
    "one node": ("everything", lambda data, _: data.update(nodes=data["nodes"][:1]), "a graph has 1 nodes and"),
    "more units": ("everything", lambda data, _: data["units"].append("units.0"), "a graph has"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_with_one_thing_wrong_is_refused(name: str, tmp_path: Path) -> None:
    case, change, message = WRONG[name]
    assert message in refused(craft(tmp_path / "m", graph(case), change))


# --- what would take too much ----------------------------------------------------------------------


def nodes(data: dict[str, Any], tensors: Tensors, given: list[tuple[int, dict[str, Any]]]) -> None:
    """Other nodes, with their widths, behind the samples; the scores are three."""
    data["nodes"] = [{"channels": 3}, *(fields for _, fields in given)]
    data["units"] = [f"units.{k}" for k in range(len(given) + 1)]
    tensors |= {f"units.{k}": np.ones(width) for k, width in enumerate([3, *(width for width, _ in given)])}
    data["signature"] |= {"classes": ["a", "b", "c"]}
    data["signature"].pop("probabilities", None)
    data.pop("softmax", None)


def doubled(data: dict[str, Any], tensors: Tensors) -> None:
    """Values that are joined with themselves over and over."""
    nodes(data, tensors, [(min(6 << k, 10**5), {"parts": [k, k]}) for k in range(40)])


def squared(data: dict[str, Any], tensors: Tensors) -> None:
    """Features picked in another order, over and over."""
    nodes(data, tensors, [(1200, {"source": k, "columns": [2, 0, 1] * 400}) for k in range(40)])


def kept(data: dict[str, Any], tensors: Tensors) -> None:
    """Long sequences that later stages read backwards."""
    data["signature"]["steps"] = 65536
    move = {"stride": -1, "offset": 65535, "steps": 65536}
    both = [
        [(3, {"source": k, **move}), (3, {"source": k + 1, "factor": f"nodes.{k + 2}.factor"})]
        for k in range(0, 800, 2)
    ]
    for k in range(2, 802, 2):
        tensors |= {
            f"nodes.{k}.{name}": np.ones(3, np.int32) for name in ("factor", "bias", "finish.requantize.multiplier")
        }
        finish = {"lo": -127, "hi": 127}
        finish |= {
            "requantize": {"pre_shift": 0, "post_shift": 0, "multiplier": f"nodes.{k}.finish.requantize.multiplier"}
        }
        both[k // 2 - 1][1][1].update(bias=f"nodes.{k}.bias", finish=finish)
    nodes(data, tensors, [one for pair in both for one in pair])


def read_often(data: dict[str, Any], tensors: Tensors) -> None:
    """Long filters of what is long already."""
    large = {"size": 5000, "stride": 1, "pads": [4999, 4999]}
    nodes(data, tensors, [(3, {"source": k, **large}) for k in range(40)])


def moved_far(data: dict[str, Any], tensors: Tensors) -> None:
    """Steps of steps of steps, whose scores are no numbers."""
    move = {"stride": 131072, "offset": 0, "steps": 1}
    nodes(data, tensors, [(3, {"source": k, **move}) for k in range(1000)])
    tensors["units.1000"] = np.full(3, np.inf)


LARGE: dict[str, tuple[Change, str]] = {
    "doubled": (doubled, "node 14 (join): more than 32768 features"),
    "squared": (squared, "its matrices have 17283600 places, and may 16777216"),
    "kept": (kept, "stages hold 157286400 integers of their steps, and may 67108864"),
    "read often": (read_often, "instructions, and may 65536"),
    "moved far": (moved_far, "node 1000 (moved): its units holds inf"),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_small_file_that_asks_for_much_is_refused_at_once(name: str, tmp_path: Path) -> None:
    change, message = LARGE[name]
    start = time.monotonic()
    text = refused(craft(tmp_path / "m", graph("everything"), change))
    assert message in text
    assert time.monotonic() - start < LONGEST


# --- many things that are wrong --------------------------------------------------------------------

NUMBERS = (0, 1, -1, 2, 3, 5, 8, 127, 128, 255, -128, 4096, 65535, 65536, 131072, 2**31, -(2**31), 10**9, 10**30)
OTHERS = (None, True, "", "x", 0.5, [], {}, [0], {"0.h": 1}, "units.0", "max", "time")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a file's JSON."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*path, key)
        yield from places(inner, (*path, key))


def mutate(rng: random.Random, data: dict[str, Any], tensors: Tensors) -> None:
    """One change: of a tensor, or of a value, which may be replaced, moved, doubled or left out."""
    if rng.random() < 0.15:
        mutate_tensor(rng, tensors)
        return
    every = list(places(data))
    path = rng.choice([p for p in every if p[0] == "nodes"] if rng.random() < 0.8 else every)
    parent: Any = data
    for key in path[:-1]:
        parent = parent[key]
    key, value = path[-1], parent[path[-1]]
    if isinstance(value, int) and rng.random() < 0.8:
        parent[key] = rng.choice((value - 1, value + 1, -value, 2 * value, *NUMBERS))
    elif rng.random() < 0.2:
        del parent[key]
    elif isinstance(parent, list) and rng.random() < 0.6:
        other = rng.randrange(len(parent))
        rng.choice((lambda: parent.insert(other, value), lambda: swap(parent, key, other)))()
    elif isinstance(value, str) and rng.random() < 0.8:
        parent[key] = rng.choice(sorted(tensors))
    else:
        parent[key] = copy.deepcopy(rng.choice(OTHERS))


def swap(values: list[Any], k: int, j: int) -> None:
    values[k], values[j] = values[j], values[k]


def mutate_tensor(rng: random.Random, tensors: Tensors) -> None:
    name = rng.choice(sorted(tensors))
    value = tensors[name]
    limits = np.iinfo(value.dtype) if value.dtype.kind == "i" else np.finfo(value.dtype)
    extreme = value.copy()
    extreme.flat[rng.randrange(value.size)] = rng.choice((limits.min, limits.max, 0, 1))
    others = [extreme, value[:-1], value[None], value.ravel(), np.zeros_like(value), value.astype(np.int32), value.T]
    others += [np.concatenate([value, value]), np.ascontiguousarray(value[..., :1]), np.full_like(value, limits.max)]
    tensors[name] = np.ascontiguousarray(rng.choice(others))


def work(model: IntegerModel) -> int:
    """Instructions of a window."""
    steps = model.signature.steps
    return sum(len(stage.program.instructions) * (stage.steps or steps) for stage in lower(model).stages)


@pytest.mark.parametrize("name", MUTATED)
def test_a_mutated_file_is_refused_or_runs(name: str, tmp_path: Path) -> None:
    """Of every other file two things are changed; whatever loads is executed, where that is no long work."""
    content, original = encode(graph(name))
    rng, before = random.Random(name), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusals, executed = 0, 0
    for k in range(EACH):
        data, tensors = json.loads(content), dict(original)
        for _ in range(1 + k % 2):
            mutate(rng, data, tensors)
        path, start = write(tmp_path / "m", data, tensors), time.monotonic()
        try:
            model = load(path)
        except EdgeLstmError:
            refusals += 1
        else:
            if work(model) < WORK:
                shape = (1, model.signature.steps, len(model.signature.channels))
                execute(model, np.full(shape, model.input_format.max, np.int32))
                executed += 1
        assert time.monotonic() - start < LONGEST, json.dumps(data)[:2000]
    assert refusals > EACH // 4
    assert executed > EACH // 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY
