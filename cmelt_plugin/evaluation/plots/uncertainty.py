"""Figures of an uncertainty: metrics over its bins, and its course as recordings get worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cmelt_plugin.evaluation.plots.style import BLUE, PALETTE, new_figure, plain, plain_names


def trend_figure(trends: Mapping[str, np.ndarray], title: str, unit: str) -> Any:
    """Metrics of one unit in bins of rising uncertainty.

    Args:
        trends: name → ``[bins]``, NaN = undefined.
        title: above the axes.
        unit: label of the vertical axis.
    """
    figure = new_figure(4.6, 3.1)
    axes = figure.add_subplot()
    for index, (name, values) in enumerate(trends.items()):
        bins = np.arange(1, len(values) + 1)
        colour = PALETTE[index % len(PALETTE)]
        axes.plot(bins, values, marker="o", markersize=4, linewidth=1.4, color=colour, label=plain_names([name])[0])
    axes.set_xlabel("tenth of the records, from the least uncertain")
    axes.set_ylabel(plain(unit))
    axes.set_title(plain(title), loc="left")
    if trends:
        axes.legend()
    return figure


def levels_figure(levels: Sequence[str], quartiles: np.ndarray, title: str) -> Any:
    """The uncertainty of recordings at rising levels of a disturbance.

    Args:
        levels: L names.
        quartiles: ``[3, L]``, 25, 50 and 75 % of the records.
        title: above the axes.
    """
    figure = new_figure(4.6, 3.1)
    axes = figure.add_subplot()
    places = np.arange(len(levels))
    axes.fill_between(places, quartiles[0], quartiles[2], color=BLUE, alpha=0.2, linewidth=0, label="half of the records")
    axes.plot(places, quartiles[1], marker="o", markersize=4, color=BLUE, label="median")
    axes.set_xticks(places, plain_names(levels))
    axes.set_ylabel("uncertainty")
    axes.set_title(plain(title), loc="left")
    axes.legend()
    return figure
