"""One ECG as it is printed on paper, and under it what a model says about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cmelt_plugin.evaluation.plots.ecg import ecg_figure
from cmelt_plugin.evaluation.plots.style import BLUE, ORANGE, plain_names

MOST_BARS = 15


def prediction_figure(
    ecg: np.ndarray,
    scores: Mapping[str, float],
    label: str,
    unit_interval: bool,
    positive: Sequence[str] = (),
    title: str = "",
) -> Any:
    """The ECG over a bar per class, highest first; at most :data:`MOST_BARS` of them.

    Args:
        ecg: ``[12, T]`` mV at 500 Hz, canonical leads.
        scores: class → score.
        label: what the scores are, under their axis.
        unit_interval: whether the axis goes from 0 to 1.
        positive: classes that count as present; in another colour.
        title: above the ECG.
    """
    shown = sorted(scores, key=lambda name: -scores[name])[:MOST_BARS]
    figure = ecg_figure(ecg, title=title)
    paper = figure.axes[0]
    width, height = figure.get_size_inches()
    below = 0.9 + 0.27 * len(shown)
    figure.set_size_inches(width, height + below)
    grid = figure.add_gridspec(2, 1, height_ratios=[height, below])
    paper.set_subplotspec(grid[0])
    axes = figure.add_subplot(grid[1])
    rows = np.arange(len(shown))[::-1]
    values = [scores[name] for name in shown]
    axes.barh(rows, values, color=[ORANGE if name in positive else BLUE for name in shown], height=0.7)
    axes.set_yticks(rows, plain_names(shown))
    low, high = (0.0, 1.0) if unit_interval else (min(0.0, *values), max(0.0, *values))
    room = 0.08 * ((high - low) or 1.0)
    for row, value in zip(rows, values):
        axes.text(value + 0.1 * room if value >= 0 else 0.1 * room, row, f"{value:.3f}", va="center", fontsize=9)
    axes.set_xlim(low, high + room)
    axes.axvline(0, color="#111111", linewidth=0.8)
    axes.grid(False)
    left_out = f"; {len(scores) - len(shown)} lower classes not shown" if len(scores) > len(shown) else ""
    present = "; orange: above its threshold" if any(name in positive for name in shown) else ""
    axes.set_xlabel(label + present + left_out)
    return figure
