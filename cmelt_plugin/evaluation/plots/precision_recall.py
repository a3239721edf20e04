"""Precision–recall curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cmelt_plugin.evaluation.plots.class_curves import known_labels, new_curves
from cmelt_plugin.evaluation.plots.style import PALETTE, plain_names


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

    figure, axes = new_curves(len(areas), title)
    for index, (name, area) in enumerate(areas.items()):
        target, score = known_labels(labels, scores, names, name)
        precision, recall, _ = precision_recall_curve(target, score)
        style = "-" if index < 4 else "--"
        label = f"{plain_names([name])[0]} {area:.2f}"
        axes.step(recall, precision, where="post", color=PALETTE[index], linestyle=style, linewidth=1.4, label=label)
        axes.axhline(target.mean(), color=PALETTE[index], linewidth=0.6, linestyle=":")
    axes.set_xlabel("recall (sensitivity)")
    axes.set_ylabel("precision (positive predictive value)")
    figure.legend(loc="outside lower center", title="class, average precision (dotted: chance)", ncols=3, handlelength=1.8)
    return figure
