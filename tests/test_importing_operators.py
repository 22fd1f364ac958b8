"""The handlers of ONNX's operators: each against onnxruntime, and the page that lists them.

`python tests/test_importing_operators.py` writes docs/operators.md anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import edge_lstm.importing.operators  # noqa: F401  registers the handlers
from edge_lstm.importing.errors import UnsupportedError
from edge_lstm.importing.fold import FOLDED
from edge_lstm.importing.interpreter import HANDLERS, interpret
from edge_lstm.importing.reader import OPSETS

PAGE = Path(__file__).parent.parent / "docs" / "operators.md"
B, T, F = 3, 8, 4
rng = np.random.default_rng(0)


class Case(NamedTuple):
    """Nodes from ``x`` (windows, steps, features) to ``y``.

    Args:
        nodes: Operator, inputs, outputs, attributes.
        constants: By name.
        opset: Of the model.
        shape: Of x, where it has other axes.
    """

    nodes: list[tuple[str, list[str], list[str], dict[str, Any]]]
    constants: Mapping[str, np.ndarray] = MappingProxyType({})
    opset: int = 17
    shape: tuple[Any, ...] = ("B", "T", F)


def one(kind: str, *more: str, opset: int = 17, shape: tuple[Any, ...] = ("B", "T", F), **given: Any) -> Case:
    """A single node; arrays among ``given`` are constants, called as inputs in ``more``, the rest attributes."""
    constants = {k: np.asarray(v) for k, v in given.items() if isinstance(v, np.ndarray | np.generic)}
    attributes = {k: v for k, v in given.items() if k not in constants}
    return Case([(kind, ["x", *more], ["y"], attributes)], constants, opset, shape)


def real(*shape: int) -> np.ndarray:
    return rng.normal(0, 1, shape).astype(np.float32)


def whole(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


W, P = real(F, 5), np.abs(real(F)) + 0.5
TIME_FIRST: tuple[str, list[str], list[str], dict[str, Any]] = ("Transpose", ["x"], ["t"], {"perm": [1, 0, 2]})
FIRST = ("B", F, "T")  # as convolutions have it
CASES: dict[str, Case] = {
    **{k: one(k) for k in ("Sigmoid", "Tanh", "Relu", "Elu", "Exp", "Abs", "Softplus", "Softsign", "Erf", "Neg")},
    **{k: one(k) for k in ("LeakyRelu", "HardSigmoid", "Identity", "Softmax", "LogSoftmax")},
    "ArgMax": Case([("MatMul", ["x", "w"], ["t"], {}), ("ArgMax", ["t"], ["y"], {"axis": 2})], {"w": W}),
    "ArgMax squeezed": one("ArgMax", axis=-1, keepdims=0),
    "Sqrt": Case([("Abs", ["x"], ["a"], {}), ("Sqrt", ["a"], ["y"], {})]),
    "Dropout": one("Dropout", opset=11),
    "Cast": one("Cast", to=TensorProto.FLOAT),
    "CastLike": one("CastLike", "k", k=real(1)),
    "LeakyRelu alpha": one("LeakyRelu", alpha=0.3),
    "HardSigmoid alpha": one("HardSigmoid", alpha=0.25, beta=0.4),
    "Clip": one("Clip", "lo", "hi", lo=np.float32([-0.5]).reshape(()), hi=np.float32([0.7]).reshape(())),
    "Clip attributes": one("Clip", opset=9, min=-0.5, max=0.7),
    "Pow": one("Pow", "two", two=np.float32(2).reshape(())),
    "Add": one("Add", "k", k=real(F)),
    "Add scalar": one("Add", "k", k=real(1)),
    "Sub": one("Sub", "k", k=real(1, 1, F)),
    "Sub from": Case([("Sub", ["k", "x"], ["y"], {})], {"k": real(F)}),
    "Mul": one("Mul", "k", k=real(F)),
    "Div": one("Div", "k", k=P),
    "Add values": Case([("Tanh", ["x"], ["t"], {}), ("Add", ["t", "x"], ["y"], {})]),
    "Mul values": Case([("Tanh", ["x"], ["t"], {}), ("Mul", ["x", "t"], ["y"], {})]),
    "Div values": Case([("Exp", ["x"], ["t"], {}), ("Div", ["x", "t"], ["y"], {})]),
    "Max": Case([("Tanh", ["x"], ["t"], {}), ("Max", ["x", "t"], ["y"], {})]),
    "Min": Case([("Tanh", ["x"], ["t"], {}), ("Min", ["x", "t"], ["y"], {})]),
    "Sum": Case([("Tanh", ["x"], ["t"], {}), ("Sum", ["x", "t", "x"], ["y"], {})]),
    "Mean": Case([("Tanh", ["x"], ["t"], {}), ("Mean", ["x", "t"], ["y"], {})]),
    "Where": Case([("Where", ["k", "x", "c"], ["y"], {})], {"k": np.array([True, False, True, False]), "c": real(F)}),
    "Where of values": Case(
        [("Tanh", ["x"], ["t"], {}), ("Where", ["k", "t", "x"], ["y"], {})],
        {"k": np.array([[False, True, True, False]])},
    ),
    "Where of a comparison": Case(
        [("Greater", ["x", "k"], ["m"], {}), ("Tanh", ["x"], ["t"], {}), ("Where", ["m", "t", "k"], ["y"], {})],
        {"k": real(F)},
    ),
    "Equal": Case(
        [("Clip", ["x", "lo"], ["v"], {}), ("Equal", ["v", "lo"], ["e"], {}), ("Cast", ["e"], ["y"], {"to": 1})],
        {"lo": np.float32(0.1).reshape(())},
    ),
    "Greater": Case([("Greater", ["x", "k"], ["g"], {}), ("Cast", ["g"], ["y"], {"to": 1})], {"k": real(F)}),
    "Less": Case([("Less", ["x", "k"], ["g"], {}), ("Cast", ["g"], ["y"], {"to": 1})], {"k": real(1)}),
    "Less than a value": Case([("Less", ["k", "x"], ["g"], {}), ("Cast", ["g"], ["y"], {"to": 1})], {"k": real(1)}),
    "Greater than a value": Case(
        [("Greater", ["k", "x"], ["g"], {}), ("Cast", ["g"], ["y"], {"to": 1})], {"k": real(F)}
    ),
    "Not": Case(
        [("Greater", ["x", "k"], ["g"], {}), ("Not", ["g"], ["n"], {}), ("Cast", ["n"], ["y"], {"to": 1})],
        {"k": real(F)},
    ),
    "MatMul": one("MatMul", "w", w=W),
    "Gemm": Case(
        [("ReduceMean", ["x"], ["m"], {"axes": [1], "keepdims": 0}), ("Gemm", ["m", "w", "b"], ["y"], {"alpha": 0.5})],
        {"w": W, "b": real(5)},
    ),
    "Gemm transB": Case(
        [("ReduceMax", ["x"], ["m"], {"axes": [1], "keepdims": 0}), ("Gemm", ["m", "w"], ["y"], {"transB": 1})],
        {"w": real(5, F)},
    ),
    "BatchNormalization": one("BatchNormalization", *"gbmv", g=P, b=real(F), m=real(F), v=P, shape=FIRST),
    "LayerNormalization": one("LayerNormalization", "g", "b", g=P, b=real(F)),
    "ReduceMean": one("ReduceMean", axes=[1]),
    "ReduceSum": one("ReduceSum", "axes", axes=whole(1), keepdims=0),
    "ReduceMax": one("ReduceMax", axes=[1], keepdims=0),
    "ReduceMin": one("ReduceMin", axes=[1]),
    "ReduceMean features": one("ReduceMean", axes=[2]),
    "Transpose": one("Transpose", perm=[1, 0, 2]),
    "Transpose default": one("Transpose"),
    "Unsqueeze": one("Unsqueeze", "axes", axes=whole(1, 4)),
    "Unsqueeze attribute": one("Unsqueeze", opset=11, axes=[0]),
    "Squeeze": Case(
        [("Unsqueeze", ["x", "a"], ["u"], {}), ("Squeeze", ["u", "a"], ["y"], {})], {"a": whole(2)}
    ),
    "Reshape": one("Reshape", "s", s=whole(0, 0, 2, 2)),
    "Reshape flat": one("Reshape", "s", s=whole(-1, F)),
    "Reshape back": Case(
        [
            ("Shape", ["x"], ["s"], {}),
            ("Reshape", ["x", "flat"], ["f"], {}),
            ("MatMul", ["f", "w"], ["m"], {}),
            ("Gather", ["s", "i"], ["lead"], {}),
            ("Concat", ["lead", "five"], ["t"], {"axis": 0}),
            ("Reshape", ["m", "t"], ["y"], {}),
        ],
        {"flat": whole(-1, F), "w": W, "i": whole(0, 1), "five": whole(5)},
    ),
    "Flatten": Case([("ReduceMean", ["x"], ["m"], {"axes": [1]}), ("Flatten", ["m"], ["y"], {})]),
    "Concat": Case([("Tanh", ["x"], ["t"], {}), ("Concat", ["x", "t"], ["y"], {"axis": -1})]),
    "Split": Case([("Split", ["x", "s"], ["a", "y"], {"axis": 2})], {"s": whole(1, 3)}),
    "Slice features": one("Slice", *"seap", s=whole(1), e=whole(4), a=whole(2), p=whole(2)),
    "Slice steps": one("Slice", *"sea", s=whole(2), e=whole(-1), a=whole(1)),
    "Slice backwards": one("Slice", *"seap", s=whole(-1), e=whole(-(2**40)), a=whole(1), p=whole(-1)),
    "Slice attributes": one("Slice", opset=9, starts=[1], ends=[3], axes=[2]),
    "Gather step": one("Gather", "i", i=np.array(-1), axis=1),
    "Gather features": one("Gather", "i", i=whole(2, 0), axis=2),
    "Gather one": one("Gather", "i", i=np.array(1), axis=2),
    "Expand": Case(
        [("ReduceMean", ["x"], ["m"], {"axes": [1]}), ("Expand", ["m", "s"], ["y"], {})], {"s": whole(1, 6, 1)}
    ),
    "Tile": Case([("ReduceMean", ["x"], ["m"], {"axes": [1]}), ("Tile", ["m", "s"], ["y"], {})], {"s": whole(1, 5, 1)}),
    "Size": Case(
        [("Size", ["x"], ["n"], {}), ("Cast", ["n"], ["k"], {"to": 1}), ("Mul", ["x", "z"], ["y"], {})],
        {"z": real(F)},
    ),
    "Conv": one("Conv", "w", "b", w=real(6, F, 3), b=real(6), shape=FIRST),
    "Conv all": one("Conv", "w", w=real(6, 2, 2), shape=FIRST, strides=[2], dilations=[2], pads=[1, 2], group=2),
    "Conv plane": one("Conv", "w", w=real(6, F, 1, 3), shape=("B", F, 1, "T"), pads=[0, 1, 0, 1]),
    "MaxPool": one("MaxPool", shape=FIRST, kernel_shape=[3], strides=[2], pads=[1, 1]),
    "AveragePool": one("AveragePool", shape=FIRST, kernel_shape=[3], strides=[1], pads=[1, 1]),
    "AveragePool counted": one("AveragePool", shape=FIRST, kernel_shape=[2], pads=[1, 0], count_include_pad=1),
    "GlobalAveragePool": one("GlobalAveragePool", shape=FIRST),
    "GlobalMaxPool": one("GlobalMaxPool", shape=FIRST),
    "Reciprocal": Case([("Exp", ["x"], ["a"], {}), ("Reciprocal", ["a"], ["y"], {})]),
    "Pad": one("Pad", "p", p=whole(0, 2, 0, 0, 1, 0)),
    "Pad axes": one("Pad", *["p", "", "a"], opset=18, p=whole(1, 0), a=whole(1)),
    "Pad attributes": one("Pad", opset=9, pads=[0, 1, 0, 0, 0, 0]),
    "ReverseSequence": Case(
        [
            ("Shape", ["x"], ["s"], {}),
            ("Gather", ["s", "one"], ["steps"], {}),
            ("Gather", ["s", "none"], ["windows"], {}),
            ("Expand", ["steps", "windows"], ["n"], {}),
            ("ReverseSequence", ["x", "n"], ["y"], {"batch_axis": 0, "time_axis": 1}),
        ],
        {"one": whole(1), "none": whole(0)},
    ),
    "Split steps": Case(
        [
            ("Split", ["x"], [f"s{k}" for k in range(T)], {"axis": 1}),
            *[("Tanh", [f"s{k}"], [f"t{k}"], {}) for k in range(T)],
            ("Concat", [f"t{k}" for k in range(T)], ["y"], {"axis": 1}),
        ],
        shape=("B", T, F),
    ),
    "Reshape of a fixed window": one("Reshape", "s", s=whole(-1, T * F), shape=("B", T, F)),
    "Gemm with a computed C": Case(
        [
            ("ReduceMean", ["x"], ["m"], {"axes": [1], "keepdims": 0}),
            ("MatMul", ["m", "w"], ["c"], {}),
            ("Gemm", ["m", "w", "c"], ["y"], {"alpha": 0.5, "beta": 0.3}),
        ],
        {"w": W},
    ),
    "Mul of one feature": Case(
        [("ReduceMean", ["x"], ["m"], {"axes": [2]}), ("Mul", ["m", "k"], ["y"], {})], {"k": real(1, 1, 3)}
    ),
    "DequantizeLinear of weights": Case(
        [("DequantizeLinear", ["q", "s", "z"], ["w"], {}), ("Add", ["x", "w"], ["y"], {})],
        {"q": np.int8([-128, -3, 0, 100]), "s": np.float32(0.02), "z": np.int8(3)},
    ),
    "Quantized weights": Case(
        [
            ("QuantizeLinear", ["w", "s", "z"], ["q"], {"axis": 1}),
            ("DequantizeLinear", ["q", "s", "z"], ["v"], {"axis": 1}),
            ("Add", ["x", "v"], ["y"], {}),
        ],
        {"w": real(1, F), "s": np.float32([0.02, 0.1, 0.3, 0.01]), "z": np.int8([0, 1, -2, 0])},
    ),
    "LSTM": Case(
        [TIME_FIRST, ("LSTM", ["t", "w", "r"], ["y", "h", "c"], {"hidden_size": 5})],
        {"w": real(1, 20, F), "r": real(1, 20, 5)},
    ),
    "GRU": Case(
        [TIME_FIRST, ("GRU", ["t", "w", "r"], ["y"], {"hidden_size": 5})],
        {"w": real(1, 15, F), "r": real(1, 15, 5)},
    ),
    "LSTM, hard gates": Case(
        [
            TIME_FIRST,
            ("LSTM", ["t", "w", "r", "", "", "", "", "p"], ["y"], {
                "hidden_size": 5, "activations": ["HardSigmoid", "Tanh", "Tanh"],
                "activation_alpha": [0.3], "activation_beta": [0.4],
            }),
        ],
        {"w": real(1, 20, F), "r": real(1, 20, 5), "p": real(1, 15)},
    ),
    "LSTM, hard gates and input_forget": Case(
        [
            TIME_FIRST,
            ("LSTM", ["t", "w", "r", "b"], ["y"], {
                "hidden_size": 5, "activations": ["HardSigmoid", "Tanh", "Tanh"], "input_forget": 1,
                "activation_alpha": [0.3], "activation_beta": [0.4],
            }),
        ],
        {"w": real(1, 20, F), "r": real(1, 20, 5), "b": real(1, 40)},
    ),
    "GRU, hard gates of both directions": Case(
        [
            TIME_FIRST,
            ("GRU", ["t", "w", "r"], ["y"], {
                "hidden_size": 5, "activations": ["HardSigmoid", "Tanh"] * 2, "direction": "bidirectional",
                "activation_alpha": [0.3, 0.1], "activation_beta": [0.4, 0.6],
            }),
        ],
        {"w": real(2, 15, F), "r": real(2, 15, 5)},
    ),
    "RNN": Case(
        [TIME_FIRST, ("RNN", ["t", "w", "r"], ["y"], {"hidden_size": 5})],
        {"w": real(1, 5, F), "r": real(1, 5, 5)},
    ),
}  # fmt: skip


def model(case: Case) -> Any:
    nodes = [helper.make_node(kind, i, o, name=f"n{k}", **a) for k, (kind, i, o, a) in enumerate(case.nodes)]
    result = TensorProto.INT64 if "ArgMax" in case.nodes[-1] else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, case.shape)],
        [helper.make_tensor_value_info("y", result, None)],
        [numpy_helper.from_array(v, k) for k, v in case.constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)], ir_version=8)


@pytest.mark.parametrize("name", CASES)
def test_each_operator_computes_what_onnxruntime_computes(name: str) -> None:
    case = CASES[name]
    proto = model(case)
    lengths = {"B": B, "T": T}
    x = np.random.default_rng(1).normal(0, 1, [lengths.get(n, n) for n in case.shape]).astype(np.float32)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(["y"], {"x": x})
    found = interpret(proto).run(x)["y"]
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-6)  # onnxruntime computes in float32


def test_every_handler_has_a_case() -> None:
    tried = {kind for case in CASES.values() for kind, *_ in case.nodes}
    elsewhere = {"Loop", "Scan"}  # in test_importing_keras.py
    assert set(HANDLERS) - tried == elsewhere


PAIR: list[tuple[str, list[str], list[str], dict[str, Any]]] = [
    ("QuantizeLinear", ["x", "s", "z"], ["q"], {}),
    ("DequantizeLinear", ["q", "t", "z"], ["d"], {}),
    ("MatMul", ["d", "w"], ["y"], {}),
]
SCALES = {"s": np.float32(0.02), "t": np.float32(0.02), "z": np.int8(3), "w": W}


def test_a_quantized_value_is_itself_and_its_range_is_remembered() -> None:
    x = np.random.default_rng(0).normal(0, 0.5, (B, T, F))
    found = interpret(model(Case(PAIR, SCALES)))
    np.testing.assert_allclose(found.run(x)["y"], x @ W, atol=1e-6)
    assert found.ranges == pytest.approx({"x": 131 * 0.02})


UNSUPPORTED = [
    (
        Case(PAIR, {**SCALES, "t": np.float32(0.03)}),
        "node 'n1' (DequantizeLinear): its scale or zero point is not that of the QuantizeLinear before it",
    ),
    (
        Case([PAIR[0], ("Relu", ["q"], ["y"], {})], SCALES),
        "node 'n1' (Relu): it reads the integers 'q'",
    ),
    (
        Case([("DequantizeLinear", ["x", "s"], ["y"], {})], SCALES),
        "node 'n0' (DequantizeLinear): it reads integers; accepted is the result of QuantizeLinear, or a constant",
    ),
    (one("Cos"), "node 'n0': operator Cos is not supported; supported are Abs, Add, ArgMax, AveragePool, "),
    (
        Case([("Tanh", ["x"], ["t"], {}), ("Equal", ["x", "t"], ["y"], {})]),
        "node 'n1' (Equal): it compares two values that are computed from the inputs; accepted is one and a constant",
    ),
    (one("Not"), "node 'n0' (Not): it negates what is no comparison"),
    (
        Case([("Where", ["x", "k", "k"], ["y"], {})], {"k": real(F)}),
        "node 'n0' (Where): its condition is no comparison",
    ),
    (one("LessOrEqual", "k", k=real(F)), "node 'n0' (LessOrEqual): it compares what is computed from the inputs; "),
    (one("Pow", "k", k=np.float32(3).reshape(())), "node 'n0' (Pow): its exponent is 3.0; accepted are 1, 2 and 0.5"),
    (one("Cast", to=7), "node 'n0' (Cast): it casts to the type 7; accepted are float, double and half"),
    (one("Slice", *"sea", s=whole(0), e=whole(1), a=whole(0)), "node 'n0' (Slice): it takes a part of the windows"),
    (one("Gather", "i", i=whole(0, 1), axis=1), "node 'n0' (Gather): it takes 2 steps; accepted is one"),
    (
        one("MaxPool", shape=FIRST, kernel_shape=[2], ceil_mode=1),
        "node 'n0' (MaxPool): ceil_mode is 1; accepted is 0",
    ),
    (
        Case([("LSTM", ["x", "w", "r"], ["y"], {"hidden_size": 5, "activations": ["Affine", "Tanh", "Tanh"]})],
             {"w": real(1, 20, F), "r": real(1, 20, 5)}, shape=("T", "B", F)),
        "node 'n0' (LSTM): its activations are Affine, Tanh, Tanh; accepted are Sigmoid, Tanh, Tanh, "
        "or HardSigmoid first",
    ),
    (
        Case([("LSTM", ["x", "w", "r", "", "n"], ["y"], {"hidden_size": 5})],
             {"w": real(1, 20, F), "r": real(1, 20, 5), "n": np.array([2, 3], np.int32)}, shape=("T", "B", F)),
        "node 'n0' (LSTM): sequence_lens is a constant shorter than the window; accepted are windows of one length",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("case", "message"), UNSUPPORTED, ids=[message for _, message in UNSUPPORTED])
def test_what_is_not_supported_is_named(case: Case, message: str) -> None:
    with pytest.raises(UnsupportedError) as error:
        interpret(model(case))
    assert str(error.value).startswith(message)


def test_a_case_of_another_domain_is_named() -> None:
    proto = model(one("Tanh"))
    proto.graph.node[0].domain = "com.microsoft"
    with pytest.raises(UnsupportedError, match=r"operator Tanh of 'com\.microsoft' is not supported"):
        interpret(proto)


# --- the page --------------------------------------------------------------------------------------


def page() -> str:
    def line(function: Callable[..., Any]) -> str:
        return " ".join((function.__doc__ or "").partition("\n\n")[0].split())

    rows = [f"| `{name}` | {line(HANDLERS[name])} |" for name in sorted(HANDLERS)]
    return (
        "# Operators of ONNX\n\n"
        f"What `import_onnx` understands of other tools' files, opsets {OPSETS[0]} to {OPSETS[-1]}. A model has "
        "windows, steps and features on any axes; transposing, reshaping and squeezing may move them, and may not mix "
        "them. "
        "Anything else is refused with the node's name and the reason. Imported models are evaluated in float "
        "(`edge-lstm run model.onnx`), and all that is here has an integer form, but: a mean of neighbours that counts "
        "fewer at the ends (`count_include_pad` 0), division by values of both signs or that differ over 32 times, "
        "softmax over time of several features at once, the largest or smallest of the features, a window written out "
        "step by step that is no cell, lengths of windows before anything but recurrent layers, comparisons but for a "
        "mask of padding, several inputs or outputs. "
        "Written by `python tests/test_importing_operators.py`.\n\n"
        "| operator | what is taken |\n|---|---|\n" + "\n".join(rows) + "\n\n"
        "Computed on constants, such as shapes, before anything else: "
        + ", ".join(f"`{k}`" for k in sorted(FOLDED))
        + ".\n"
    )


def test_the_page_lists_the_handlers() -> None:
    assert PAGE.read_text() == page(), "run `python tests/test_importing_operators.py`"


if __name__ == "__main__":
    PAGE.write_text(page())
