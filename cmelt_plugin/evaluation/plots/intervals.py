"""A figure per class with its uncertainty: dots and 95 % intervals, best first."""

from __future__ import annotations

from typing import Any

import numpy as np

from cmelt_plugin.evaluation.plots.style import BLUE, GREY, ORANGE, new_figure, plain, plain_names

FEW_POSITIVES = 10


def interval_figure(
    values: dict[str, float],
    intervals: dict[str, tuple[float, float]],
    positives: dict[str, int],
    macro: float,
    title: str,
    unit: str = "area under the ROC curve",
) -> Any:
    """
    Args:
        values: class → figure between 0 and 1.
        intervals: class → (low, high); classes may be missing.
        positives: class → positive records; classes with fewer than ten are set apart by colour.
        macro: mean over the classes, drawn as a line.
        title: above the axes.
        unit: label of the horizontal axis.
    """
    order = sorted(values, key=lambda name: values[name])
    figure = new_figure(4.6, 1.3 + 0.24 * len(order))
    axes = figure.add_subplot()
    rows = np.arange(len(order))
    for row, name in zip(rows, order):
        colour = ORANGE if positives.get(name, 0) < FEW_POSITIVES else BLUE
        low, high = intervals.get(name, (values[name], values[name]))
        axes.plot([low, high], [row, row], color=colour, linewidth=1.6, solid_capstyle="butt")
        axes.plot(values[name], row, marker="o", markersize=4.5, color=colour)
    few, many = (axes.plot([], [], marker="o", markersize=4.5, color=colour, linewidth=1.6)[0] for colour in (ORANGE, BLUE))
    line = axes.axvline(macro, color="#111111", linewidth=1.2)
    chance = axes.axvline(0.5, color=GREY, linewidth=1, linestyle=":")
    axes.set_yticks(rows, [f"{shown} (n = {positives.get(name, 0)})" for name, shown in zip(order, plain_names(order))])
    axes.set_ylim(-0.7, len(order) - 0.3)
    lowest = min([0.45, *(low for low, _ in intervals.values() if np.isfinite(low)), *values.values()])
    axes.set_xlim(max(0.0, lowest - 0.02), 1.01)
    axes.set_xlabel(unit)
    axes.set_title(plain(title), loc="left")
    labels = [f"macro {macro:.3f}", "chance 0.5", "≥ 10 positives", "< 10 positives"]
    figure.legend([line, chance, many, few], labels, loc="outside lower center", ncols=2, handlelength=1.6)
    return figure
