"""Estimated values against measured ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from cmelt_plugin.evaluation.plots.style import BLUE, GREY, new_figure, plain


def value_scatter(target: np.ndarray, value: np.ndarray, title: str, unit: str = "") -> Any:
    """A dot per record, with the line on which estimates are right.

    Args:
        target: ``[N]`` measured.
        value: ``[N]`` estimated.
        title: above the axes.
        unit: of both.
    """
    figure = new_figure(4.2, 4.2)
    axes = figure.add_subplot()
    low, high = min(target.min(), value.min()), max(target.max(), value.max())
    axes.plot([low, high], [low, high], color=GREY, linewidth=1, linestyle="--")
    opacity = float(np.clip(200 / len(target), 0.05, 0.8))
    axes.plot(target, value, marker="o", markersize=4, markeredgewidth=0, linestyle="", color=BLUE, alpha=opacity)
    axes.set_aspect("equal")
    axes.set_xlabel(plain(f"measured ({unit})" if unit else "measured"))
    axes.set_ylabel(plain(f"estimated ({unit})" if unit else "estimated"))
    axes.set_title(plain(title), loc="left")
    return figure
