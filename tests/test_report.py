"""The page: what it shows, what it leaves out, that it loads nothing and believes nobody."""

from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm import storage
from edge_lstm._version import __version__
from edge_lstm.codec import digest
from edge_lstm.errors import EdgeLstmError
from edge_lstm.layers import FloatLayer
from edge_lstm.model import FloatModel, QuantizedModel
from edge_lstm.ptq import quantize
from edge_lstm.report import write_report
from edge_lstm.signature import Signature

CHANNELS, CLASSES = ("acc_x", "gyro_x"), ("still", "moving")
STEPS, HIDDEN = 12, 3


def model(
    gates: str = "hard", layers: int = 1, channels: tuple[str, ...] = CHANNELS, classes: tuple[str, ...] = CLASSES
) -> QuantizedModel:
    r = np.random.default_rng(7)
    made, width = [], len(channels)
    for _ in range(layers):
        made.append(
            FloatLayer(
                "lstm",
                {k: r.normal(0, 1, (HIDDEN, width)) for k in "ifgo"},
                {k: r.normal(0, 1, (HIDDEN, HIDDEN)) for k in "ifgo"},
                {k: r.normal(0, 1, HIDDEN) for k in "ifgo"},
                dict.fromkeys("ifo", gates),  # type: ignore[arg-type]
            )
        )
        width = HIDDEN
    signature = Signature("toy", channels, ("g",) * len(channels), 50.0, STEPS, classes)
    n, k = len(channels), len(classes)
    trained = FloatModel(
        signature, np.zeros(n), np.ones(n), 4.0, tuple(made), "mean", r.normal(0, 1, (k, HIDDEN)), np.zeros(k)
    )
    return quantize(trained, calibration=r.normal(0, 1, (5, STEPS, n)))


def results(**changes: Any) -> dict[str, Any]:
    """A training run: neither verified nor simulated."""
    minimal: dict[str, Any] = {
        "title": "toy, lstm of 3 units",
        "dataset": {
            "name": "toy data",
            "source": "https://example.org/toy",
            "licence": "CC0",
            "train_windows": 1200,
            "test_windows": 40,
            "steps": STEPS,
            "rate_hz": 50.0,
            "channels": list(CHANNELS),
            "units": ["m/s^2", "rad/s"],
            "classes": list(CLASSES),
        },
        "training": {
            "cell": "lstm",
            "hidden": HIDDEN,
            "layers": 1,
            "pooling": "mean",
            "parameters": 1084,
            "epochs": 300,
            "seeds": [0, 1, 2],
            "options": {"learning_rate": 0.0125},
        },
    }
    return minimal | changes


def spread(scale: float) -> dict[str, float]:
    return {"mean": 1111.25 * scale, "p95": 2222 * scale, "max": 3333 * scale}


def core(name: str, scale: int) -> dict[str, Any]:
    return {
        "core": name,
        "compiler": "testcc 1.2 -O2",
        "steps": 4000 * scale,
        "instructions_per_step": spread(scale),
        "instructions_per_window": spread(100 * scale),
        "flash_bytes": {"code": 5001, "tables": 1536, "weights": 1084, "total": 7621},
        "ram_bytes": {"state": 18, "scratch": 96, "stack": 148, "total": 262},
        "nonzero_hidden": 0.333,
        "instructions_by_function": {"toy_step": 900.0, "el_matvec": 211.25},
        "battery_days": 123.5,
    }


def complete(**changes: Any) -> dict[str, Any]:
    """A demo run."""
    everything: dict[str, Any] = {
        "accuracy": [
            {
                "model": "soft gates, float",
                "gates": "soft",
                "form": "float",
                "by_seed": {"0": 0.975, "1": 1, "2": 0.95},
            },
            {"model": "hard gates, int8", "gates": "hard", "form": "int8", "by_seed": {"0": 0.9, "1": 0.9, "2": 0.85}},
        ],
        "curves": [
            {"model": "hard gates", "seed": 0, "epoch": [1, 2], "loss": [0.7, 0.01], "accuracy": [None, 0.9]},
            {"model": "soft gates", "seed": 0, "epoch": [1, 2], "loss": [0.6, 0.02], "accuracy": [0.5, 1.0]},
        ],
        "shipped": {"gates": "hard", "seed": 0},
        "confusion": [[19, 1], [3, 17]],
        "verify": {
            "equal": True,
            "compared": 1234567,
            "mismatches": 0,
            "backends": ["numpy", "onnxruntime", "c", "cortex-m0plus", "cortex-m4"],
            "first_mismatch": None,
            "windows": 40,
            "steps": STEPS,
            "float": {"max_abs": 0.1034, "rms": 0.0213, "agreement": 0.975},
        },
        "simulate": [core("cortex-m4", 1), core("cortex-m0plus", 2)],
    }
    return results(**(everything | changes))


def run_folder(folder: Path, content: dict[str, Any], shipped: QuantizedModel | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    shipped = shipped or model()
    (folder / "results.json").write_text(json.dumps(content))
    storage.save(shipped, folder / "model.elstm")
    x = np.random.default_rng(1).normal(0, 1, (STEPS, len(shipped.signature.channels))).astype(np.float32)
    np.savez(folder / "recording.npz", x=x, y=np.int64(1))
    return folder


class Page(HTMLParser):
    """What a reader sees of a page, its elements, and its tables."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.tables: list[list[list[str]]] = []
        self._words: list[str] = []
        self._hidden = 0
        self._in_cell = False
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        self._hidden += tag == "style"
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
        self._in_cell = tag in ("th", "td") or (self._in_cell and tag not in ("tr", "table"))

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag == "style"
        self._in_cell = self._in_cell and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._words.append(data)
            if self._in_cell:
                self.tables[-1][-1][-1] += data

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.tags if name in attributes]

    def rows(self) -> dict[str, list[str]]:
        """Header cell to the other cells; of equal ones the last."""
        return {row[0]: row[1:] for table in self.tables for row in table if row}


def page(tmp_path: Path, *runs: Path) -> Page:
    out = tmp_path / "report.html"
    write_report(list(runs), out)
    return Page(out.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("full")
    return page(folder, run_folder(folder / "run", complete()))


def test_result_in_one_sentence(full: Page) -> None:
    assert (
        "An LSTM of 3 units with hard gates tells the 2 classes of toy data apart with 88.3 % accuracy "
        "(int8, mean of 3 seeds), computes the same integers in 5 backends (1,234,567 compared) and takes "
        "1,111 instructions per step and 7,621 bytes of flash on a Cortex-M4." in full.text
    )


@pytest.mark.parametrize(
    "shown",
    [
        "toy data: 1,200 windows to train, 40 windows to test",
        "licence CC0",
        "12 steps at 50 Hz = 0.24 s",
        "acc_x [m/s²]; gyro_x [rad/s]",
        "lstm, 1 layer of 3 units, pooling: mean, 1,084 parameters",
        "300 epochs, 3 seeds (0, 1, 2)",
        "learning_rate 0.0125",
        "mean over 3 seeds",
        "One window is 2.5 percentage points",
        "Equal: 1,234,567 pairs of integers compared over 40 windows of 12 steps, 0 differ.",
        "the integer ONNX graph on onnxruntime",
        "the generated C99 on an emulated Cortex-M0+",
        "97.5 % of the windows get the same class",
        "at most 0.103 logits, and by 0.0213 logits rms",
        "with testcc 1.2 -O2",
        "true class moving",
        f"edge-lstm {__version__}",
    ],
)
def test_numbers_are_those_of_the_results(full: Page, shown: str) -> None:
    assert shown in full.text


def test_tables(full: Page) -> None:
    rows = full.rows()
    assert rows["soft gates, float"] == ["97.5 %", "± 2.5", "95.0 % to 100 %", "97.5 %", "100 %", "95.0 %"]
    assert rows["hard gates, int8"] == ["88.3 %", "± 2.9", "85.0 % to 90.0 %", "90.0 %", "90.0 %", "85.0 %"]
    assert rows["still"] == ["19", "1", "20", "95.0 %"]
    assert rows["moving"] == ["3", "17", "20", "85.0 %"]
    instructions, memory = (t for t in full.tables if t[0] == ["", "Cortex-M4", "Cortex-M0+"])
    assert instructions[2:5] == [
        ["mean", "1,111", "2,222"],
        ["95th percentile", "2,222", "4,444"],
        ["maximum", "3,333", "6,666"],
    ]
    assert instructions[6] == ["mean", "111,125", "222,250"]
    assert memory[2:6] == [
        ["weights", "1,084", "1,084"],
        ["tables", "1,536", "1,536"],
        ["code", "5,001", "5,001"],
        ["total", "7,621", "7,621"],
    ]
    assert rows["battery days"] == ["123.5", "123.5"]
    assert rows["el_matvec"] == ["211.2", "19.0 %"]


def test_provenance(full: Page) -> None:
    assert digest(model()) in full.text


def test_gate_statistics(full: Page) -> None:
    (gates,) = [t for t in full.tables if t[0][0] == "gate"]
    names = [row[0] for row in gates[1:]]
    assert names == ["input gate i, hard", "forget gate f, hard", "output gate o, hard", "hidden state h"]
    for name, row in zip(("input gate i", "forget gate f", "output gate o"), gates[1:], strict=False):
        assert f"{name}, hard: open {row[1]}" in full.text  # the figure says what the table says


def test_figures_are_named(full: Page) -> None:
    labels = [a["aria-label"] for tag, a in full.tags if tag == "svg"]
    assert [label.split()[0] for label in labels] == ["Dot", "Learning", "Gate", "Stacked"]
    assert all(a["role"] == "img" for tag, a in full.tags if tag == "svg")
    assert all("scope" in a for tag, a in full.tags if tag == "th")


def test_nothing_is_loaded(full: Page) -> None:
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in full.tags}
    assert full.attributes("src") == []
    for tag, attributes in full.tags:
        target = attributes.get("href", attributes.get("xlink:href", "#"))
        assert target.startswith(("#", "data:image/png;base64,")) or (tag, target) == ("a", "https://example.org/toy")
        assert all(link.startswith("#") for link in re.findall(r"url\(([^)]*)\)", str(attributes)))


def test_style_sheet_loads_nothing(tmp_path: Path) -> None:
    write_report([run_folder(tmp_path / "run", results())], tmp_path / "report.html")
    (style,) = re.findall(r"<style>(.*?)</style>", (tmp_path / "report.html").read_text(), re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style


def test_links_and_ids_within_the_page(tmp_path: Path) -> None:
    one, other = run_folder(tmp_path / "one", complete()), run_folder(tmp_path / "two", complete())
    html = page(tmp_path, one, other)
    ids = Counter(html.attributes("id"))
    assert [name for name, count in ids.items() if count > 1] == []
    text = str(html.tags)
    used = [h[1:] for h in html.attributes("href") + html.attributes("xlink:href") if h.startswith("#")]
    used += re.findall(r"url\(#([^)]*)\)", text) + html.attributes("aria-labelledby")
    assert len(used) > 50
    assert sorted(set(used) - ids.keys()) == []


def test_training_run_says_how_to_get_the_rest(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", results())
    html = page(tmp_path, run)
    assert f"edge-lstm verify {run}/model.elstm" in html.text
    assert f"edge-lstm simulate {run}/model.elstm --device cortex-m4" in html.text
    assert "measured no accuracy" in html.text
    assert "Learning curves" not in html.text
    assert "Confusion" not in html.text
    assert f"was trained on toy data and quantized to {(run / 'model.elstm').stat().st_size:,} bytes." in html.text
    assert [a["aria-label"].split()[0] for tag, a in html.tags if tag == "svg"] == ["Gate"]


def test_difference_is_told(tmp_path: Path) -> None:
    verify = complete()["verify"] | {
        "equal": False,
        "mismatches": 17,
        "first_mismatch": {"backend": "c", "value": "lstm0.c_next", "step": 4, "unit": 2, "expected": 5, "found": 6},
    }
    html = page(tmp_path, run_folder(tmp_path / "run", complete(verify=verify)))
    assert "Not equal: 1,234,567 pairs of integers compared over 40 windows of 12 steps, 17 differ." in html.text
    assert "First difference: backend c, value lstm0.c_next, step 4, unit 2, expected 5, found 6." in html.text
    assert "computes different integers in 5 backends (17 of 1,234,567 differ)" in html.text


def test_two_layers_of_soft_gates(tmp_path: Path) -> None:
    html = page(tmp_path, run_folder(tmp_path / "run", results(), model("soft", layers=2)))
    for name in ("lstm0: input gate i, soft", "lstm1: output gate o, soft", "lstm1: hidden state h"):
        assert name in html.text


def test_one_function_needs_no_table(tmp_path: Path) -> None:
    alone = core("cortex-m4", 1) | {"instructions_by_function": {"toy_step": 1111.25}}
    html = page(tmp_path, run_folder(tmp_path / "run", complete(simulate=[alone])))
    assert "Where the instructions go" not in html.text


def test_phases_of_training_are_told(tmp_path: Path) -> None:
    content = complete()
    content["training"]["options"] = {"hard_from": 0.5, "quantized_from": 0.7}
    html = page(tmp_path, run_folder(tmp_path / "run", content))
    assert "become thresholds after a share 0.5 of the epochs; after 0.7 the forward pass computes" in html.text


def test_rate_unknown(tmp_path: Path) -> None:
    content = results()
    content["dataset"]["rate_hz"] = None
    html = page(tmp_path, run_folder(tmp_path / "run", content))
    assert "time [steps]" in html.text
    assert "time [s]" not in html.text


def test_comparison(tmp_path: Path) -> None:
    one = run_folder(tmp_path / "one", complete())
    other = run_folder(tmp_path / "two", results(title="another"), model("soft"))
    html = page(tmp_path, one, other)
    assert html.tables[0][0] == ["", "toy, lstm of 3 units", "another"]
    rows = {row[0]: row[1:] for row in html.tables[0]}
    assert rows["test accuracy, int8"] == ["88.3 % ± 2.9", "–"]
    assert rows["flash [bytes]"] == ["7,621", "–"]
    assert rows["backends with equal integers"] == ["all 5", "–"]


def test_equal_titles_are_told_apart(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / name, results()) for name in ("one", "two")]
    html = page(tmp_path, *runs)
    assert html.tables[0][0] == ["", "toy, lstm of 3 units (one)", "toy, lstm of 3 units (two)"]


def test_same_bytes_every_time(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", complete())
    written = []
    for name in ("a.html", "b.html"):
        write_report([run], tmp_path / name)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "$\\frac{",
    "_hidden",
    "漢字",
    "{{ 7 * 7 }}",
    "url(#x) #0072b2",
    "z" * 64,
)


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    content = complete(title=HOSTILE[0], confusion=None)
    content["dataset"] |= {
        "name": HOSTILE[1],
        "source": "javascript:alert(1)",
        "licence": HOSTILE[0],
        "channels": list(HOSTILE),
        "units": list(HOSTILE),
        "classes": list(HOSTILE),
    }
    content["training"]["options"] = {HOSTILE[0]: HOSTILE[1]}
    for group, key in (("accuracy", "model"), ("curves", "model"), ("simulate", "core")):
        content[group][0][key] = HOSTILE[0]
    content["simulate"][0]["instructions_by_function"] = {HOSTILE[1]: 1.0}
    content["verify"]["backends"] = list(HOSTILE)
    content["accuracy"][1]["model"] = content["curves"][1]["model"] = "a\x01\nb" + 300 * "z"  # no character of XML
    run = run_folder(tmp_path / "run", content, model(channels=HOSTILE, classes=HOSTILE))
    html = page(tmp_path, run)
    assert not {"script", "img"} & {tag for tag, _ in html.tags}
    assert not [name for _, attributes in html.tags for name in attributes if name.startswith("on")]
    assert not [h for h in html.attributes("href") if h.startswith("javascript:")]
    for text in (HOSTILE[0], HOSTILE[1], HOSTILE[2], "{{ 7 * 7 }}", "_hidden", "漢字", "url(#x) #0072b2"):
        assert text in html.text


@pytest.mark.parametrize("name", ["results.json", "model.elstm", "recording.npz"])
def test_missing_file_is_named(tmp_path: Path, name: str) -> None:
    run = run_folder(tmp_path / "run", results())
    (run / name).unlink()
    with pytest.raises(EdgeLstmError, match=rf"^can't read .*/run/{name}: No such file or directory$"):
        write_report([run], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("name", ["results.json", "model.elstm", "recording.npz"])
def test_broken_file_is_named(tmp_path: Path, name: str) -> None:
    run = run_folder(tmp_path / "run", results())
    (run / name).write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(EdgeLstmError) as caught:
        write_report([run], tmp_path / "report.html")
    assert f"/run/{name}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(
        EdgeLstmError, match=r"/none is no folder; a run folder holds results\.json, model\.elstm, recording\.npz$"
    ):
        write_report([tmp_path / "none"], tmp_path / "report.html")


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(EdgeLstmError, match=r"^no runs to report on; accepted are one or more run folders$"):
        write_report([], tmp_path / "report.html")


def test_results_of_another_model(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", results(), model(classes=("still", "running")))
    with pytest.raises(
        EdgeLstmError,
        match=r"results\.json: classes are still, moving, and those of model\.elstm still, running$",
    ):
        write_report([run], tmp_path / "report.html")


def test_users_settings_change_nothing(tmp_path: Path) -> None:
    import matplotlib as mpl

    run = run_folder(tmp_path / "run", complete())
    write_report([run], tmp_path / "a.html")
    with mpl.rc_context({"axes.titlesize": 30.0, "svg.fonttype": "path", "lines.linewidth": 9.0}):
        write_report([run], tmp_path / "b.html")
        assert mpl.rcParams["lines.linewidth"] == 9.0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
