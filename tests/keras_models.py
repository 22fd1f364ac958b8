"""Models of Keras as their users write them, exported by tf2onnx: `python tests/keras_models.py FOLDER [DATA.npz]`.

Runs in any interpreter that has tensorflow and tf2onnx, and needs nothing of this package: writes `<name>.onnx` and
`<name>.npz` (samples ``x``, Keras's own output ``y``) for each model. Weights are random; or trained, where there are
data: ``x`` (windows, steps, features) and ``classes`` (windows,).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FEATURES, STEPS, CLASSES, UNITS = 6, 12, 4, 10
WINDOWS = 5
PADDING = {"masking-value": -10.0}
"""Of models called ``masking...``; 0 of others of these."""
STATEFUL = ("stateful",)
"""Models whose number of windows is fixed, at 1; they are trained as ``lstm-linear``, which has the same weights."""
EPOCHS, RATE, BATCH = 50, 0.02, 100


def models() -> dict[str, Callable[[], Any]]:
    """Name to what makes the model."""
    import keras
    from keras import layers

    def sequential(*parts: Any, steps: int | None = STEPS) -> Callable[[], Any]:
        def make() -> Any:
            built = [part() for part in parts]
            return keras.Sequential([keras.Input((steps, FEATURES), name="x"), *built])

        return make

    def dense(activation: str | None = "softmax") -> Callable[[], Any]:
        return lambda: layers.Dense(CLASSES, activation=activation)

    def lstm(**given: Any) -> Callable[[], Any]:
        return lambda: layers.LSTM(UNITS, **given)

    def gru(**given: Any) -> Callable[[], Any]:
        return lambda: layers.GRU(UNITS, **given)

    def rnn(**given: Any) -> Callable[[], Any]:
        return lambda: layers.SimpleRNN(UNITS, **given)

    def both(inner: Callable[[], Any], mode: str = "concat") -> Callable[[], Any]:
        return lambda: layers.Bidirectional(inner(), merge_mode=mode)

    def masking(value: float = 0.0) -> Callable[[], Any]:
        return lambda: layers.Masking(value)

    def weighted() -> Any:
        x = keras.Input((STEPS, FEATURES), name="x")
        h = layers.LSTM(UNITS, return_sequences=True)(x)
        weights = layers.Softmax(axis=1)(layers.Dense(1)(h))
        pooled = layers.Lambda(lambda v: keras.ops.sum(v[0] * v[1], axis=1))([weights, h])
        return keras.Model(x, layers.Dense(CLASSES)(pooled))

    def attention() -> Any:
        x = keras.Input((STEPS, FEATURES), name="x")
        h = layers.LSTM(UNITS, return_sequences=True)(x)
        return keras.Model(x, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(layers.Attention()([h, h]))))

    def stateful() -> Any:
        x = keras.Input(batch_shape=(1, STEPS, FEATURES), name="x")
        return keras.Model(x, layers.Dense(CLASSES)(layers.LSTM(UNITS, stateful=True)(x)))

    def states() -> Any:
        x = keras.Input((STEPS, FEATURES), name="x")
        _, h, c = layers.LSTM(UNITS, return_state=True)(x)
        return keras.Model(x, layers.Dense(CLASSES)(layers.Concatenate()([h, c])))

    def batch_norm() -> Any:
        return layers.BatchNormalization(momentum=0.9)  # training is short

    sequence = {"return_sequences": True}
    found: dict[str, Callable[[], Any]] = {
        "lstm": sequential(lstm(), dense()),
        "lstm-linear": sequential(lstm(), dense(None)),
        "lstm-open": sequential(lstm(), dense(None), steps=None),
        "lstm-no-bias": sequential(lstm(use_bias=False), dense(None)),
        "lstm-hard": sequential(lstm(recurrent_activation="hard_sigmoid"), dense()),
        "lstm-relu": sequential(lstm(activation="relu"), dense()),
        "lstm-each": sequential(lstm(**sequence), dense(None)),
        "lstm-time-distributed": sequential(lstm(**sequence), lambda: layers.TimeDistributed(layers.Dense(CLASSES))),
        "lstm-flatten": sequential(lstm(**sequence), layers.Flatten, dense(None)),
        "lstm-backwards": sequential(lstm(go_backwards=True), dense(None)),
        "lstm-backwards-mean": sequential(
            lstm(go_backwards=True, **sequence), layers.GlobalAveragePooling1D, dense(None)
        ),
        "lstm-mean": sequential(lstm(**sequence), layers.GlobalAveragePooling1D, dense()),
        "lstm-max": sequential(lstm(**sequence), layers.GlobalMaxPooling1D, dense()),
        "lstm-states": states,
        "lstm-unrolled": sequential(lstm(unroll=True), dense(None)),
        "gru-after": sequential(gru(), dense()),
        "gru": sequential(gru(reset_after=False), dense(None)),
        "gru-each": sequential(gru(**sequence), dense(None)),
        "gru-hard": sequential(gru(recurrent_activation="hard_sigmoid"), dense(None)),
        "rnn": sequential(rnn(), dense()),
        "rnn-relu": sequential(rnn(activation="relu"), dense(None)),
        "rnn-each": sequential(rnn(**sequence), dense(None)),
        "bidirectional-lstm": sequential(both(lstm()), dense()),
        "bidirectional-lstm-sum": sequential(both(lstm(), "sum"), dense(None)),
        "bidirectional-lstm-mean": sequential(both(lstm(**sequence)), layers.GlobalAveragePooling1D, dense(None)),
        "bidirectional-gru": sequential(both(gru()), dense(None)),
        "bidirectional-gru-sum-each": sequential(both(gru(**sequence), "sum"), dense(None)),
        "bidirectional-rnn": sequential(both(rnn()), dense(None)),
        "bidirectional-stacked": sequential(both(lstm(**sequence)), both(lstm()), dense()),
        "stacked-lstm": sequential(lstm(**sequence), lstm(), dense()),
        "stacked-gru": sequential(gru(**sequence), lambda: layers.Dropout(0.3), gru(), dense()),
        "masking": sequential(masking(), lstm(), dense(None)),
        "masking-value": sequential(masking(PADDING["masking-value"]), gru(), dense(None)),
        "masking-rnn-each": sequential(masking(), rnn(**sequence), dense(None)),
        "masking-backwards": sequential(masking(), gru(reset_after=False, go_backwards=True), dense(None)),
        "masking-stacked": sequential(masking(), lstm(**sequence), lstm(), dense()),
        "masking-bidirectional": sequential(masking(), both(lstm()), dense()),
        "masking-bidirectional-each": sequential(masking(), both(gru(**sequence)), lstm(), dense(None)),
        "masking-mean": sequential(masking(), lstm(**sequence), layers.GlobalAveragePooling1D, dense(None)),
        "conv": sequential(
            lambda: layers.Conv1D(8, 3, padding="same", activation="relu"),
            lambda: layers.MaxPooling1D(2),
            lstm(),
            dense(),
        ),
        "conv-causal": sequential(lambda: layers.Conv1D(8, 3, padding="causal"), gru(), dense(None)),
        "conv-strided": sequential(lambda: layers.Conv1D(8, 4, strides=2, padding="same"), lstm(), dense(None)),
        "normalized": sequential(batch_norm, lstm(), dense()),
        "normalized-between": sequential(lstm(**sequence), batch_norm, lstm(), dense(None)),
        "layer-normalized": sequential(lstm(**sequence), layers.LayerNormalization, lstm(), dense(None)),
        "dropout": sequential(
            lstm(), lambda: layers.Dropout(0.5), lambda: layers.Dense(12, activation="relu"), dense()
        ),
        "time-distributed-first": sequential(lambda: layers.TimeDistributed(layers.Dense(7)), lstm(), dense(None)),
        "dense-relu-first": sequential(lambda: layers.Dense(7, activation="relu"), lstm(), dense(None)),
        "weighted-sum": weighted,
        "attention": attention,
        "stateful": stateful,
        "repeat": sequential(lstm(), lambda: layers.RepeatVector(5), lstm(**sequence), dense(None)),
    }
    return found


def padded(name: str, x: Any) -> Any:
    """Windows of which most are shorter, of a model with a mask; x (windows, steps, features) of others."""
    if not name.startswith("masking"):
        return x
    found = np.array(x)
    for k in range(len(found)):
        found[k, : k % 3 // 2] = found[k, STEPS - k % 6 :] = PADDING.get(name, 0.0)
    return found


def disturbed(model: Any, seed: int) -> None:
    """Random weights, also where Keras begins with zeros and ones."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "seed" in weight.path:
            continue
        value = rng.normal(0, 0.4, weight.shape)
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.path or "gamma" in weight.path else value)


def train(model: Any, x: Any, classes: Any) -> None:
    """Fit a model whose last axis is the classes, as scores or probabilities; at each step where each has an output."""
    import keras

    softmax = getattr(getattr(model.layers[-1], "activation", None), "__name__", "") == "softmax"
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=not softmax)
    model.compile(keras.optimizers.Adam(RATE), loss)
    if len(model.outputs[0].shape) == 3:
        classes = np.repeat(classes[:, None], model.outputs[0].shape[1] or STEPS, axis=1)
    model.fit(x, classes, batch_size=BATCH, epochs=EPOCHS, verbose=0)


def export(name: str, folder: Path, seed: int, data: Any = None) -> None:
    """Write a model, samples, and what Keras computes."""
    import keras
    import tensorflow
    import tf2onnx

    keras.utils.set_random_seed(seed)
    model = models()[name]()
    if data is None:
        disturbed(model, seed)
    elif name in STATEFUL:
        alike = models()["lstm-linear"]()
        train(alike, data["x"], data["classes"])
        model.set_weights(alike.get_weights())
    elif model.outputs[0].shape[-1] == CLASSES:
        train(model, padded(name, data["x"]), data["classes"])
    steps = model.inputs[0].shape[1]
    x = np.random.default_rng(seed).normal(0, 1, (1 if name in STATEFUL else WINDOWS, STEPS, FEATURES))
    x = padded(name, x.astype(np.float32))
    spec = [tensorflow.TensorSpec((1 if name in STATEFUL else None, steps, FEATURES), tensorflow.float32, name="x")]
    call = tensorflow.function(lambda x: model(x, training=False), input_signature=spec)
    tf2onnx.convert.from_function(call, spec, opset=17, output_path=str(folder / f"{name}.onnx"))
    np.savez(folder / f"{name}.npz", x=x, y=np.asarray(model(x, training=False)))


def main(folder: Path, data: Any = None) -> None:
    """All of them; says what can't be exported."""
    for seed, name in enumerate(models()):
        try:
            export(name, folder, seed, data)
        except Exception as error:  # tf2onnx raises all kinds
            sys.stdout.write(f"{name}: {type(error).__name__} {' '.join(str(error).split())[:200]}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), np.load(sys.argv[2]) if len(sys.argv) > 2 else None)
