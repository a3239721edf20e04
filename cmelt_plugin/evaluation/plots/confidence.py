"""Figures of confidence: what probabilities mean, and what is gained by leaving the least certain recordings out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cmelt_plugin.evaluation.metrics.calibration import Reliability
from cmelt_plugin.evaluation.plots.style import BLACK, GREY, PALETTE, new_figure, plain, plain_names

_FEWEST = 10
"""Cells of a bin from which on it is drawn: the frequency of fewer is chance."""


def reliability_figure(curves: Mapping[str, Reliability], title: str) -> Any:
    """How often classes are present against the probabilities that were given; points of larger area stand for more cells.

    Args:
        curves: name → bins.
        title: above the axes.
    """
    figure = new_figure(4.8, 3.6)
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_title(plain(title), loc="left")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="ideal")
    for index, (name, bins) in enumerate(curves.items()):
        drawn = np.asarray(bins.records) >= _FEWEST
        share = np.sqrt(np.asarray(bins.records)[drawn] / max(np.asarray(bins.records).sum(), 1))
        colour = PALETTE[index]
        axes.plot(bins.probability[drawn], bins.frequency[drawn], color=colour, linewidth=1.4, label=plain_names([name])[0])
        axes.scatter(bins.probability[drawn], bins.frequency[drawn], s=12 + 120 * share, color=colour, alpha=0.7)
    axes.set_xlabel("probability")
    axes.set_ylabel("share with the class")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def risk_figure(risks: Mapping[str, np.ndarray], best: np.ndarray, title: str) -> Any:
    """Share of wrong decisions among the most certain recordings, against their share of all.

    Args:
        risks: name → ``[N]``, at coverages 1/N … 1.
        best: ``[N]``, of an order that knows the mistakes.
        title: above the axes.
    """
    figure = new_figure(4.8, 3.6)
    axes = figure.add_subplot()
    n = len(best)
    shown = np.arange(max(n // 20, 1) - 1, n)  # of the first few recordings the curve is chance
    coverage = (shown + 1) / n
    for index, (name, risk) in enumerate(risks.items()):
        axes.plot(coverage, 100 * risk[shown], color=PALETTE[index % len(PALETTE)], linewidth=1.4, label=plain_names([name])[0])
    axes.axhline(100 * best[-1], color=GREY, linewidth=1, linestyle="--", label="random")
    axes.plot(coverage, 100 * best[shown], color=BLACK, linewidth=1, linestyle=":", label="best possible")
    axes.set_xlabel("share of recordings that are decided")
    axes.set_ylabel("wrong decisions (%)")
    axes.set_ylim(bottom=0)
    axes.set_title(plain(title), loc="left")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def promise_figure(recalls: Sequence[float | None], refused: Sequence[float | None], promised: float, title: str) -> Any:
    """Recall of sets, and share of recordings that get no answer, in windows by time; None = unknown.

    Args:
        recalls, refused: of each window, shares.
        promised: the recall that was promised.
        title: above the axes.
    """
    figure = new_figure(4.8, 3.2)
    axes = figure.add_subplot()
    for values, colour, label in ((recalls, PALETTE[0], "recall"), (refused, PALETTE[1], "refused")):
        known = [(number, 100 * value) for number, value in enumerate(values, 1) if value is not None]
        if known:
            axes.plot(*zip(*known), color=colour, linewidth=1.4, marker="o", markersize=3, label=label)
    axes.axhline(100 * promised, color=GREY, linewidth=1, linestyle="--", label="promised")
    axes.set_xlabel("window")
    axes.set_xticks(range(1, len(recalls) + 1))
    axes.set_ylabel("%")
    axes.set_ylim(0, 103)
    axes.set_title(plain(title), loc="left")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
