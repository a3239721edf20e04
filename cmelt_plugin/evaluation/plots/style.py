"""What the figures share: how one is made, its colours, and how it gets into a page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import Any

from cmelt_plugin.errors import DataError, printable

# Okabe and Ito (2008): distinguishable with any form of colour blindness.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, AMBER, YELLOW, BLACK, GREY = "#56B4E9", "#E69F00", "#B8A800", "#000000", "#767676"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, BLACK, YELLOW)

LONGEST_NAME = 60  # characters

_SETTINGS: dict[Any, Any] = {
    "text.parse_math": False,  # names of classes and records may hold dollars
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.fonttype": "none",  # text stays text: small files, searchable, the reader's own font
    "svg.hashsalt": "figure",  # the same figure gives the same file
}
FONT_STACK = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def new_figure(width: float, height: float) -> Any:
    """An empty figure of ``width × height`` inches, outside pyplot's global state.

    Raises:
        DataError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise DataError("figures need matplotlib: pip install 'cmelt-plugin[viz]'") from None
    matplotlib.rcParams.update(_SETTINGS)
    return Figure(figsize=(width, height), layout="constrained")


def plain(text: str, most: int | None = None) -> str:
    """Text of the user as a figure can draw it: names of classes and records, titles.

    Characters that cannot be drawn become their escapes, ``most`` bounds the length, and a leading underscore, by which
    matplotlib leaves entries out of legends, gets a blank before it.
    """
    text = "\n".join(map(printable, str(text).split("\n")))
    text = text if most is None or len(text) <= most else f"{text[: most - 1]}…"
    return f" {text}" if text.startswith("_") else text


def plain_names(names: Iterable[str]) -> list[str]:
    """:func:`plain` for names on an axis or in a legend, which leave room for the figure."""
    return [plain(name, LONGEST_NAME) for name in names]


def to_svg(figure: Any) -> str:
    """The figure as an ``<svg>`` element for an HTML page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # names of groups would repeat from figure to figure in one page
    # The reader's own font; older matplotlibs write font: SIZE FAMILY, newer ones font-family: FAMILY.
    svg = re.sub(r"(font: (?:[\w.]+ )*[\d.]+px) [^;\"]*", rf"\1 {FONT_STACK}", svg)
    return re.sub(r"font-family: [^;\"]*", f"font-family: {FONT_STACK}", svg)
