"""Zero-shot classification: ROC curves and the area per class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cmelt_plugin.evaluation.plots.class_curves import known_labels, new_curves
from cmelt_plugin.evaluation.plots.style import BLUE, GREY, PALETTE, new_figure, plain_names

ROWS, COLUMNS = 20, 3  # so many classes stand under each other, and more only where all columns are full


def roc_points(target: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates over all thresholds, records of equal score together; both begin at 0, end at 1.

    Args:
        target: bool ``[n]``, at least one of each.
        score: ``[n]``, larger = more likely.
    """
    order = np.argsort(-score, kind="stable")
    target, score = np.asarray(target, dtype=bool)[order], score[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    hits, misses = np.cumsum(target)[last], np.cumsum(~target)[last]
    return np.append(0, misses / misses[-1]), np.append(0, hits / hits[-1])


def roc_figure(labels: np.ndarray, scores: np.ndarray, names: Sequence[str], aucs: dict[str, float], title: str) -> Any:
    """ROC curves of the classes named in ``aucs``, in its order, with the areas in the legend.

    Args:
        labels: ``[N, C]`` 0/1, NaN = unknown.
        scores: ``[N, C]``.
        names: the C classes.
        aucs: class → area; at most eight, the number of colours.
        title: above the axes.
    """
    figure, axes = new_curves(len(aucs), title)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    for index, (name, auc) in enumerate(aucs.items()):
        false_rate, true_rate = roc_points(*known_labels(labels, scores, names, name))
        axes.plot(
            false_rate,
            true_rate,
            color=PALETTE[index],
            linestyle="-" if index < 4 else "--",
            linewidth=1.5,
            label=f"{plain_names([name])[0]} {auc:.2f}",
        )
    axes.set_xlabel("false positive rate (1 − specificity)")
    axes.set_ylabel("true positive rate (sensitivity)")
    figure.legend(loc="outside lower center", title="class, AUC", ncols=3, columnspacing=1.2, handlelength=1.8)
    return figure


def auc_columns(n: int) -> int:
    """Columns of :func:`auc_figure` for ``n`` classes."""
    return min(COLUMNS, max(1, -(-n // ROWS)))


def auc_figure(aucs: dict[str, float], positives: dict[str, int], macro: float, bar: float | None = None) -> Any:
    """Area per class, best first, with the number of positive records; many classes stand in columns beside each other.

    Args:
        aucs: class → area.
        positives: class → number of positive records.
        macro: mean over the classes, drawn as a line.
        bar: what ``macro`` should reach, drawn as a dashed line.
    """
    order = sorted(aucs, key=lambda name: -aucs[name])
    n_columns = auc_columns(len(order))
    n_rows = -(-len(order) // n_columns)
    figure = new_figure(4.4 * n_columns, 1.2 + 0.27 * n_rows)
    for column in range(n_columns):
        axes = figure.add_subplot(1, n_columns, column + 1)
        names = order[column * n_rows : (column + 1) * n_rows][::-1]  # upwards, from a last row that the last column may lack
        rows = n_rows - len(names) + np.arange(len(names))
        axes.barh(rows, [aucs[name] for name in names], color=BLUE, height=0.7)
        axes.set_yticks(rows, [f"{shown} (n = {positives[name]})" for name, shown in zip(names, plain_names(names))])
        for row, name in zip(rows, names):
            # Among many classes some end at the lines, so that all numbers stand where the bars begin.
            place, side = (aucs[name] - 0.01, "right") if n_columns == 1 else (0.02, "left")
            axes.text(place, row, f"{aucs[name]:.2f}", va="center", ha=side, fontsize=9, color="white")
        lines = [axes.axvline(macro, color="#111111", linewidth=1.6, label=f"macro {macro:.3f}")]
        if bar is not None:
            lines.append(axes.axvline(bar, color="#111111", linewidth=1, linestyle="--", label=f"bar {bar:g}"))
        lines.append(axes.axvline(0.5, color=GREY, linewidth=1, linestyle=":", label="chance 0.5"))
        axes.set_xlim(0, 1)
        if n_columns > 1:
            axes.set_ylim(-0.6, n_rows - 0.4)
        axes.set_xlabel("area under the ROC curve")
        axes.grid(False)
    figure.legend(handles=lines, loc="outside upper center", ncols=3, handlelength=1.4)
    return figure
