"""Matplotlib figures to inline SVG: one style, real text, colours as CSS variables, the same bytes every time.

Figures are drawn in the colours below. In the SVG each is replaced by the CSS variable of its name, which
``report.css`` sets for light, dark and print.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from edge_lstm.errors import require
from edge_lstm.report.formats import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 10.0
"""Of every figure [inch], so that text is of one size on the page."""

INK, MUTED, GRID, PANEL, PAPER = "#1b1f24", "#57606b", "#d9dde2", "#f3f5f7", "#fefefe"
BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, YELLOW = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#e69f00",
    "#cc79a7",
    "#56b4e9",
    "#b8a90c",
)
"""Okabe and Ito, "Color universal design", 2008; yellow darkened so that it shows on white."""
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, YELLOW)
DASHES = ("-", (0, (5, 1.6)), (0, (1.4, 1.4)), (0, (6, 1.5, 1.4, 1.5)))
"""After seven series the colours begin again with the next line style."""
MAX_NAMED = 14
"""Lines in a key beside a panel; in data with more channels or classes the others are not named."""

_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PANEL: "panel",
    PAPER: "paper",
    BLUE: "blue",
    VERMILLION: "vermillion",
    GREEN: "green",
    ORANGE: "orange",
    PURPLE: "purple",
    SKY: "sky",
    YELLOW: "yellow",
}
_COLOUR = re.compile("|".join(_VARIABLES), re.IGNORECASE)
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edge-lstm",
    "svg.image_inline": True,
    "text.parse_math": False,  # a class may be called "$x"
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: layouts are the same on every machine
    "font.size": 10.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.labelsize": 10.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 10.0,
    "ytick.labelsize": 10.0,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 10.0,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
    "image.composite_image": False,
    "figure.constrained_layout.use": True,
}


def draw(name: str, label: str, height: float, paint: Callable[[Figure], None]) -> str:
    """A figure as an ``<svg>`` element.

    Args:
        name: Unique on the page; letters, digits and hyphens. Prefixes every id.
        label: What it shows, for those who can't see it.
        height: Of the figure [inch].
        paint: Fills it.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    figures = require("matplotlib.figure", extra="report", purpose="to write a report")
    with _style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure = figures.Figure(figsize=(WIDTH, height))
        paint(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), name, label)


def series(index: int) -> dict[str, Any]:
    """Colour and line style number ``index``; all differ for 28 lines."""
    turn, k = divmod(index, len(SERIES))
    return {"color": SERIES[k], "linestyle": DASHES[turn % len(DASHES)]}


def key(axes: Axes, handles: Sequence[Any], labels: Sequence[str], **options: Any) -> None:
    """A legend. Labels are set afterwards, because matplotlib drops those that begin with an underscore."""
    legend = axes.legend(handles, [str(k) for k in range(len(labels))], **options)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(short(label))


def key_beside(axes: Axes, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """A key to the right of a panel, of at most ``MAX_NAMED`` lines."""
    shown = [short(label, 16) for label in labels[:MAX_NAMED]]
    if len(labels) > MAX_NAMED:
        shown[-1] = f"… {len(labels) - MAX_NAMED + 1} more"
    key(
        axes,
        handles[:MAX_NAMED],
        shown,
        loc="center left",
        bbox_to_anchor=(1.005, 0.5),
        handlelength=1.6,
        handletextpad=0.5,
        labelspacing=0.3,
        borderaxespad=0.2,
        ncols=1 + (len(shown) > 7),
    )
    axes.get_legend().set_in_layout(False)  # type: ignore[union-attr]


@contextlib.contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's defaults, whatever the user's own settings, with ours on top; restored afterwards."""
    matplotlib = require("matplotlib", extra="report", purpose="to write a report")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def _inline(document: bytes, name: str, label: str) -> str:
    """The ``<svg>`` element alone: no namespaces, ids that are unique on the page, sized by the page."""
    root = ElementTree.fromstring(document)  # our own document: no stranger's XML
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style", "title"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(k): _rewritten(_local(k), v, name) for k, v in element.attrib.items()}
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.attrib |= {"role": "img", "aria-label": label, "class": "chart"}
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _rewritten(attribute: str, value: str, name: str) -> str:
    if attribute == "id":
        return f"{name}-{value}"
    if attribute == "href" and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    value = _REFERENCE.sub(rf"url(#{name}-\1)", value)
    return _COLOUR.sub(lambda m: f"var(--{_VARIABLES[m[0].lower()]})", value) if attribute == "style" else value
