"""Precision–recall curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cmelt_plugin.evaluation.plots.style import PALETTE, new_figure, plain, plain_names


def precision_recall_figure(
    labels: np.ndarray, scores: np.ndarray, names: Sequence[str], areas: dict[str, float], title: str
) -> Any:
    """Curves of the classes named in ``areas``, in its order, with the average precision in the legend.

    Args:
        labels: ``[N, C]`` 0/1, NaN = unknown.
        scores: ``[N, C]``, larger = more likely.
        names: the C classes.
        areas: class → average precision; at most eight, the number of colours.
        title: above the axes.
    """
    from sklearn.metrics import precision_recall_curve

    if len(areas) > len(PALETTE):
        raise ValueError(f"{len(areas)} curves, at most {len(PALETTE)} can be told apart")
    figure = new_figure(4.4, 5.3)
    axes = figure.add_subplot()
    for index, (name, area) in enumerate(areas.items()):
        column = list(names).index(name)
        known = ~np.isnan(np.asarray(labels, dtype=float)[:, column])
        target = labels[known, column] > 0.5
        precision, recall, _ = precision_recall_curve(target, scores[known, column])
        style = "-" if index < 4 else "--"
        label = f"{plain_names([name])[0]} {area:.2f}"
        axes.step(recall, precision, where="post", color=PALETTE[index], linestyle=style, linewidth=1.4, label=label)
        axes.axhline(target.mean(), color=PALETTE[index], linewidth=0.6, linestyle=":")
    axes.set_aspect("equal")
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_xlabel("recall (sensitivity)")
    axes.set_ylabel("precision (positive predictive value)")
    axes.set_title(plain(title), loc="left")
    figure.legend(loc="outside lower center", title="class, average precision (dotted: chance)", ncols=3, handlelength=1.8)
    return figure
