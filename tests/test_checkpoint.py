"""Checkpoints: whatever they interrupt, the run ends as if nothing had been; what is broken or strange is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save as serialize

from edge_lstm import checkpoint, training
from edge_lstm.codec import content_digest, digest
from edge_lstm.data import Dataset
from edge_lstm.epoch import Epoch
from edge_lstm.errors import EdgeLstmError
from edge_lstm.train_options import TrainOptions
from edge_lstm.training import Trained, train

OPTIONS = TrainOptions(
    hidden=3, epochs=4, epoch_windows=24, batch=8, validation=0.25, hard_from=0.25, quantized_from=0.5
)


def dataset(**changes: Any) -> Dataset:
    """18 of these windows are trained on, in 3 steps an epoch."""
    y = np.arange(24) % 3
    x = np.random.default_rng(5).normal(0, 1, (24, 8, 2)) + 3 * y[:, None, None]
    made: dict[str, Any] = {"name": "toy", "x": x, "y": y, "classes": ("p", "q", "r"), "channels": ("a", "b")}
    return Dataset(**{**made, "units": ("", ""), **changes})


def outcome(trained: Trained) -> tuple[Any, ...]:
    models = digest(trained.float_model), digest(trained.quantized)
    return *models, trained.epochs, trained.best_epoch, trained.measure, trained.interrupted


class Killed(BaseException):
    """Like SIGKILL: nobody catches it."""


def kill_before_step(monkeypatch: pytest.MonkeyPatch, count: int) -> Callable[[], None]:
    """Gives what undoes it."""
    original, steps = training._Run._train_step, iter(range(1, 10**6))

    def stepped(self: Any, *arguments: Any) -> float:
        if next(steps) == count:
            raise Killed
        return original(self, *arguments)

    monkeypatch.setattr(training._Run, "_train_step", stepped)
    return lambda: monkeypatch.setattr(training._Run, "_train_step", original)


@pytest.mark.parametrize(
    ("options", "at"),
    [
        ({}, (2, 8, 12)),
        ({"averaging": 0.8, "dropout": 0.2, "metric": "macro-f1", "class_weights": "balanced"}, (5, 8, 11)),
        ({"gates": "soft", "layers": 2, "pooling": "attention", "validation": 0.0}, (5, 9)),
        ({"epochs": 8, "patience": 1, "metric": "loss", "relu": "3"}, (14,)),
        ({"rounded_from": 0.2, "weight_bits": "4"}, (2, 5, 11)),
    ],
)
@pytest.mark.parametrize("every_s", [300.0, -1.0], ids=["epochs", "steps"])
def test_a_run_that_goes_on_ends_as_one_that_was_not_interrupted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict[str, Any], at: tuple[int, ...], every_s: float
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", every_s)
    recipe, path = replace(OPTIONS, **options), tmp_path / "c"
    wanted = outcome(train(dataset(), recipe))
    for count in at:
        path.unlink(missing_ok=True)
        restore = kill_before_step(monkeypatch, count)
        with pytest.raises(Killed):
            train(dataset(), recipe, checkpoint=path)
        restore()
        if count > 1 and every_s < 0:
            assert checkpoint.load(path)[0].step == count - 1
        assert outcome(train(dataset(), recipe, checkpoint=path)) == wanted
    assert outcome(train(dataset(), recipe, checkpoint=path)) == wanted  # there is nothing left to do


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (dataset(lengths=np.arange(24) % 6 + 3), {"pooling": "last"}),
        (dataset(y=np.random.default_rng(0).normal(0, 1, (24, 3))), {"averaging": 0.5}),
    ],
    ids=["lengths", "regression"],
)
def test_so_do_windows_of_several_lengths_and_regressions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Dataset, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", -1.0)
    recipe = replace(OPTIONS, **options)
    wanted = outcome(train(data, recipe))
    restore = kill_before_step(monkeypatch, 8)
    with pytest.raises(Killed):
        train(data, recipe, checkpoint=tmp_path / "c")
    restore()
    assert outcome(train(data, recipe, checkpoint=tmp_path / "c")) == wanted


def test_epochs_that_are_over_are_not_told_again(tmp_path: Path) -> None:
    told: list[int] = []

    def listen(epoch: Epoch) -> None:
        told.append(epoch.number)
        if told == [1, 2]:
            raise Killed

    with pytest.raises(Killed):
        train(dataset(), OPTIONS, listen, checkpoint=tmp_path / "c")
    train(dataset(), OPTIONS, listen, checkpoint=tmp_path / "c")
    assert told == [1, 2, 3, 4]


def test_a_checkpoint_does_not_change_what_is_trained(tmp_path: Path) -> None:
    assert outcome(train(dataset(), OPTIONS, checkpoint=tmp_path / "c")) == outcome(train(dataset(), OPTIONS))
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_killed_while_it_is_written_the_old_one_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "c"
    train(dataset(), replace(OPTIONS, epochs=1), checkpoint=path)
    before = path.read_bytes()

    def killed(_: int) -> None:
        raise Killed

    monkeypatch.setattr("edge_lstm.files.os.fsync", killed)
    with pytest.raises(Killed):
        checkpoint.save(path, *checkpoint.load(path))
    assert path.read_bytes() == before


def test_what_a_killed_writer_left_is_deleted_with_it(tmp_path: Path) -> None:
    for name in ("run.checkpoint", ".run.checkpoint.a1b2c3d4", "run.checkpoint2", ".run2.checkpoint.a1b2c3d4"):
        (tmp_path / name).touch()
    checkpoint.remove(tmp_path / "run.checkpoint")
    checkpoint.remove(tmp_path / "run.checkpoint")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".run2.checkpoint.a1b2c3d4", "run.checkpoint2"]


def test_a_loss_that_is_no_number_leaves_no_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    train(dataset(), OPTIONS, checkpoint=tmp_path / "c")
    monkeypatch.setattr(training._Run, "_train_step", lambda *_: float("nan"))
    with pytest.raises(EdgeLstmError, match=r"^the training loss is nan in epoch 1; "):
        train(dataset(), replace(OPTIONS, seed=1), checkpoint=tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run that was killed in an epoch of integers."""
    path = tmp_path_factory.mktemp("checkpoint") / "c"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", -1.0)
        kill_before_step(monkeypatch, 12)
        with pytest.raises(Killed):
            train(dataset(), replace(OPTIONS, averaging=0.5), checkpoint=path)
    return path


def refusal(path: Path, data: Dataset | None = None, **changes: Any) -> str:
    recipe = replace(OPTIONS, averaging=0.5, **changes)
    with pytest.raises(EdgeLstmError) as error:
        train(dataset() if data is None else data, recipe, checkpoint=path)
    return str(error.value).replace(str(path), "c")


def test_other_options_and_other_data_are_refused(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = "a run goes on as it began"
    assert refusal(written, hidden=4) == f"c: hidden was 3, and is 4; {rule}"
    assert refusal(written, gates="soft") == f"c: gates was 'hard', and is 'soft'; {rule}"
    assert refusal(written, seed=2) == f"c: seed was 0, and is 2; {rule}"
    other = dataset().x.copy()
    other[3, 4, 1] += 1e-3
    assert refusal(written, dataset(x=other)) == f"c: it is of other training windows; {rule}"
    assert refusal(written, dataset(y=(np.arange(24) + 1) % 3)) == f"c: it is of other training windows; {rule}"
    monkeypatch.setattr("torch.__version__", "1.0")
    assert re.fullmatch(rf"c: PyTorch was \S+, and is 1\.0; {rule}", refusal(written))


@pytest.mark.parametrize("length", [0, 7, 100, -1000, -1])
def test_a_part_of_a_file_is_refused(written: Path, tmp_path: Path, length: int) -> None:
    path = tmp_path / "c"
    path.write_bytes(written.read_bytes()[:length])
    assert refusal(path).startswith("c is no checkpoint of edge-lstm, or is truncated (")


def test_a_bit_that_flipped_is_refused(written: Path, tmp_path: Path) -> None:
    data = bytearray(written.read_bytes())
    data[-5] ^= 1
    path = tmp_path / "c"
    path.write_bytes(data)
    assert refusal(path) == "c: the content does not match its SHA-256: the file was altered or damaged"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "can't read c: there is no such file, or it is a folder, a device or a pipe"


def test_a_model_is_no_checkpoint(tmp_path: Path) -> None:
    train(dataset(), replace(OPTIONS, epochs=1)).quantized.save(tmp_path / "m")
    assert refusal(tmp_path / "m") == "c: format is 'edge-lstm', and must be 'edge-lstm-checkpoint'"


def forged(written: Path, path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Path:
    """With a SHA-256 that fits."""
    header, tensors = checkpoint.load(written)
    content = json.loads(header.model_dump_json())
    change(content, tensors)
    text = json.dumps(content)
    metadata = {"format": checkpoint.FORMAT, "version": checkpoint.VERSION, "content": text}
    path.write_bytes(serialize(tensors, {**metadata, "sha256": content_digest(text, tensors)}))
    return path


def put(where: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def change(content: dict[str, Any], tensors: dict[str, Any]) -> None:
        target: dict[str, Any] = content
        *above, last = where.split("/")
        if above[:1] == ["tensors"]:
            target, above = tensors, []
        for name in above:
            target = target[name]
        target[last] = value(target[last]) if callable(value) else value

    return change


def drop(name: str) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda _content, tensors: tensors.pop(name)


BIAS = "network.head.dense.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("more", 1), "c: more: Extra inputs are not permitted"),
        (put("step", -1), "c: step: Input should be greater than or equal to 0"),
        (put("step", 12), "c: 12 steps are not 3 epochs of 3 and 2 more"),
        (put("batches", 3), "c: 11 steps are not 3 epochs of 3 and 3 more"),
        (put("epochs", []), "c: epoch 3 is the best of 0"),
        (put("epochs", lambda v: v[1:]), "c: its epochs have the numbers [2, 3]; accepted are 1, 2, 3 and so on"),
        (put("random/state", 2**128), "c: random.state: Input should be less than 3402823669209384634633746074317682"),
        (put("random/state", "x"), "c: random.state: Input should be a valid integer"),
        (put("learning_rate", None), "c: learning_rate: Input should be a valid number"),
        (put("options/new", 1), "c: it has an option 'new' that this version of edge-lstm does not know"),
        (put(f"tensors/{BIAS}", lambda v: v[1:]), f"c: {BIAS} is float32 (2,), and must be float32 (3,)"),
        (put(f"tensors/{BIAS}", lambda v: v.astype("float64")), f"c: {BIAS} is float64 (3,), and must be float32 (3,)"),
        (put(f"tensors/{BIAS}", lambda v: v * np.float32("nan")), f"c: {BIAS} holds what is no finite number"),
        (put("learning_rate", -1.0), "c: learning_rate: Input should be greater than or equal to 0"),
        (put("betas", [0.9, 1.0]), "c: betas.1: Input should be less than 1"),
        (put("calibration/input_max", [1.0]), "c: its calibration has 1 inputs, 1 cell states, 1 hidden states and 0 "),
        (put("calibration/cell_max", [-1.0]), "c: calibration.cell_max.0: Input should be greater than or equal to 0"),
        (drop(BIAS), f"c: there is no array {BIAS}"),
        (drop("exp_avg.head.dense.bias"), "c: there is no array exp_avg.head.dense.bias"),
        (put("tensors/order", lambda v: v + 1), "c: order names windows 1 to 18; accepted are 0 to 17"),
        (put("moving", {"o": 1.0}), "c: it has multipliers of penalties o, not none"),
        (put("averaged", 0), "c: there is an array 'average.head.dense.bias' that belongs to nothing"),
        (put("tensors/torch.random", lambda v: v[:9]), "c: torch.random is uint8 (9,), and must be uint8 (5056,)"),
        (put("tensors/torch.random", lambda v: v * 0), "c: torch.random is no state of a random number generator"),
    ],
    ids=lambda value: value[:48] if isinstance(value, str) else "",
)
def test_a_forged_one_is_refused(
    written: Path, tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None], message: str
) -> None:
    def add(content: dict[str, Any], tensors: dict[str, Any]) -> None:
        tensors.update({name: np.array(value) for name, value in tensors.items()})
        change(content, tensors)

    assert refusal(forged(written, tmp_path / "c", add)).startswith(message)


def test_numbers_survive_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rng.random(7)
    values = np.float64(rng.random(50) * 10.0 ** rng.integers(-300, 300, 50)).tolist()
    header, tensors = _header(values, rng)
    checkpoint.save(tmp_path / "c", header, tensors)
    found, arrays = checkpoint.load(tmp_path / "c")
    assert found == header
    assert found.calibration is not None
    assert found.calibration.calibration().input_max.tolist() == values
    assert arrays["losses"].tobytes() == tensors["losses"].tobytes()
    other = np.random.default_rng(4)
    found.random.put(other)
    assert other.random(5).tolist() == rng.random(5).tolist()


def _header(values: list[float], rng: np.random.Generator) -> tuple[checkpoint.Header, dict[str, Any]]:
    ranges = {"input_max": values, "cell_max": values, "hidden_max": [], "relu_max": [], "score_max": values[0]}
    header = checkpoint.Header(
        options=TrainOptions(learning_rate=1 / 3).to_json(),
        data="d",
        torch="2",
        step=0,
        epochs=[],
        batches=0,
        learning_rate=values[1],
        betas=(1 / 3, 2 / 7),
        random=checkpoint.RandomState.of(rng),
        averaged=0,
        moving={},
        calibration=checkpoint.Ranges(**ranges, attention_max=-1.0),  # type: ignore[arg-type]
        best=None,
    )
    return header, {"losses": np.array(values)}
