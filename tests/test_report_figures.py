"""Pieces of figures: numbers as text, groups of channels, SVG that fits into a page."""

from __future__ import annotations

import doctest
from typing import Any
from xml.etree import ElementTree

import pytest

from edge_lstm.report import formats, forms, svg
from edge_lstm.report.raster_figure import ChannelGroup, channel_groups


def test_examples() -> None:
    result = doctest.testmod(formats)
    assert (result.failed, result.attempted > 5) == (0, True)
    assert doctest.testmod(forms) == (0, 1)


@pytest.mark.parametrize("value", [0.0, 1e-9, 0.0004, 0.9996, 0.99949, 1 - 1e-12, 1.0])
def test_only_all_is_100_percent(value: float) -> None:
    assert (formats.percent(value) == "100 %") == (value == 1)
    assert (formats.percent(value) == "0 %") == (value == 0)


def test_one_value_has_no_spread() -> None:
    assert formats.mean_and_spread([0.5]) == (0.5, None)
    assert formats.mean_and_spread([0.25, 0.75]) == (0.5, pytest.approx(0.3535534))


def test_accelerometer_and_gyroscope_apart() -> None:
    channels = ("acc_x", "gyro_x", "acc_y", "gyro_y")
    assert channel_groups(channels, ("m/s^2", "rad/s", "m/s^2", "rad/s")) == [
        ChannelGroup("acc [m/s²]", (0, 2)),
        ChannelGroup("gyro [rad/s]", (1, 3)),
    ]


def test_sensors_of_one_unit_apart() -> None:
    channels = ("body_x", "body_y", "total_x", "total_y")
    assert channel_groups(channels, ("g",) * 4) == [ChannelGroup("body [g]", (0, 1)), ChannelGroup("total [g]", (2, 3))]


def test_names_without_axes_by_unit() -> None:
    assert channel_groups(("ch0", "ch1", "t"), ("", "", "°C")) == [
        ChannelGroup("signals", (0, 1)),
        ChannelGroup("signals [°C]", (2,)),
    ]


def sketch(figure: Any) -> None:
    axes = figure.add_subplot()
    (line,) = axes.plot([0, 1], [0, 1], color=svg.BLUE, marker="o")
    axes.set_title("<b> & $x url(#a) #0072b2")
    svg.key(axes, [line], ["_hidden"])


def test_svg_for_a_page() -> None:
    drawn = svg.draw("name", 'a "label" <', 2.0, sketch)
    root = ElementTree.fromstring(drawn)
    assert root.tag == "svg"
    assert (root.get("aria-label"), root.get("role")) == ('a "label" <', "img")
    assert (root.get("width"), root.get("height")) == (None, None)
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    assert all(str(name).startswith("name-") for name in ids)
    texts = [e.text for e in root.iter("text")]
    assert "<b> & $x url(#a) #0072b2" in texts
    assert "_hidden" in texts
    styles = " ".join(e.get("style", "") for e in root.iter())
    assert "var(--blue)" in styles
    assert "#0072b2" not in styles


def test_svg_is_the_same_every_time() -> None:
    assert svg.draw("a", "b", 2.0, sketch) == svg.draw("a", "b", 2.0, sketch)


def test_every_colour_is_in_the_style_sheet() -> None:
    from edge_lstm.report.page import STYLE, _resource

    sheet = _resource(STYLE)
    for variable in svg._VARIABLES.values():
        assert sheet.count(f"--{variable}:") == 3  # light, dark, print


def test_28_series_differ() -> None:
    assert len({str(svg.series(k)) for k in range(28)}) == 28
