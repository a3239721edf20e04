"""One ECG as it is printed on paper, and under it what a model says about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.evaluation.plots.ecg import ecg_figure
from cmelt_plugin.evaluation.plots.style import BLUE, ORANGE, plain, plain_names

MOST_BARS = 15


class Shading(NamedTuple):
    """Colours behind the leads of an ECG.

    Attributes:
        values: ``[12, T]``.
        meaning: what they are, in words.
    """

    values: np.ndarray
    meaning: str


def prediction_figure(
    ecg: np.ndarray,
    scores: Mapping[str, float],
    label: str,
    unit_interval: bool,
    positive: Sequence[str] = (),
    title: str = "",
    shading: Shading | None = None,
    titles: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    """The ECG over a bar per class, highest first; at most :data:`MOST_BARS` of them.

    Args:
        ecg: ``[12, T]`` mV at 500 Hz, canonical leads.
        scores: class → score.
        label: what the scores are, under their axis.
        unit_interval: whether the axis goes from 0 to 1.
        positive: classes that count as present; in another colour.
        title: above the ECG.
        shading: behind the leads.
        titles: class → its name in words, behind its bar.
    """
    shown = sorted(scores, key=lambda name: -scores[name])[:MOST_BARS]
    figure, axes = _over(ecg, 0.9 + 0.27 * len(shown), title, shading)
    rows = np.arange(len(shown))[::-1]
    values = [scores[name] for name in shown]
    axes.barh(rows, values, color=[ORANGE if name in positive else BLUE for name in shown], height=0.7)
    axes.set_yticks(rows, plain_names(shown))
    low, high = (0.0, 1.0) if unit_interval else (min(0.0, *values), max(0.0, *values))
    width = (high - low) or 1.0
    for name, row, value in zip(shown, rows, values):
        text = plain("   ".join([f"{value:.3f}", *([titles[name]] if name in titles else [])]))
        axes.text(max(value, 0.0) + 0.008 * width, row, text, va="center", fontsize=9)
    axes.set_xlim(low, high + (0.5 if any(name in titles for name in shown) else 0.08) * width)
    axes.axvline(0, color="#111111", linewidth=0.8)
    axes.grid(False)
    left_out = f"; {len(scores) - len(shown)} lower classes not shown" if len(scores) > len(shown) else ""
    present = "; orange: above its threshold" if any(name in positive for name in shown) else ""
    axes.set_xlabel(label + present + left_out)
    return figure


def value_figure(
    ecg: np.ndarray,
    value: float,
    interval: tuple[float, float] | None,
    limits: tuple[float, float] | None,
    label: str,
    title: str = "",
    shading: Shading | None = None,
) -> Any:
    """The ECG over the value a model estimates from it, with its interval on an axis.

    Args:
        ecg: as :func:`prediction_figure`.
        value: the estimate.
        interval: its ends, or None.
        limits: of the axis; None: around the value.
        label: what it is, under the axis.
        title, shading: as :func:`prediction_figure`.
    """
    figure, axes = _over(ecg, 1.1, title, shading)
    if interval is not None:
        axes.plot(interval, [0, 0], color=BLUE, linewidth=5, alpha=0.4, solid_capstyle="butt")
    axes.plot([value], [0], marker="o", markersize=9, color=BLUE)
    axes.annotate(f"{value:.4g}", (value, 0), xytext=(0, 9), textcoords="offset points", ha="center")
    axes.set_ylim(-1, 1.5)
    axes.set_yticks([])
    if limits is not None:
        axes.set_xlim(min(limits[0], value), max(limits[1], value))
    axes.set_xlabel(plain(label))
    return figure


def _over(ecg: np.ndarray, below: float, title: str, shading: Shading | None) -> tuple[Any, Any]:
    """A figure of the ECG, and axes of ``below`` inches under it."""
    figure = ecg_figure(ecg, title=title, shading=None if shading is None else shading.values)
    paper = figure.axes[0]
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + below)
    grid = figure.add_gridspec(2, 1, height_ratios=[height, below])
    paper.set_subplotspec(grid[0])
    if shading is not None:
        strongest = float(np.abs(shading.values).max())
        colours = f"colours: {shading.meaning}; orange above zero, blue below, the strongest {strongest:.2g}"
        paper.set_xlabel(f"{paper.get_xlabel()}\n{plain(colours)}", fontsize=11)
    return figure, figure.add_subplot(grid[1])
