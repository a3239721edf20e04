"""Which classes a model says of the records of a class: confusion of a multi-label set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cmelt_plugin.evaluation.plots.style import new_figure, plain, plain_names


def label_confusion(labels: np.ndarray, decisions: np.ndarray) -> np.ndarray:
    """Of the records that have class i, the share for which the model says class j.

    With several labels per record, rows need not add up to 1, and an off-diagonal entry need not be a mistake: compare it
    with the same matrix of the true labels, ``label_confusion(labels, labels)``.

    Args:
        labels: ``[N, C]`` 0/1, NaN = unknown, which counts as not known to be present.
        decisions: bool ``[N, C]``.

    Returns:
        float ``[C, C]``, NaN rows for classes without a record.
    """
    present = np.nan_to_num(np.asarray(labels, dtype=float)) > 0.5
    counts = present.sum(axis=0).astype(float)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (present.T.astype(float) @ np.asarray(decisions, dtype=float)) / np.where(counts == 0, np.nan, counts)


def confusion_figure(matrix: np.ndarray, names: Sequence[str], title: str, x_label: str = "the model says") -> Any:
    """Matrix of :func:`label_confusion`; numbers are written into the cells of small ones."""
    n = len(names)
    if matrix.shape != (n, n):
        raise ValueError(f"matrix {matrix.shape} for {n} classes")
    size = 2.0 + 0.26 * n
    figure = new_figure(max(size, 4.6), max(size - 0.4, 4.0))
    axes = figure.add_subplot()
    image = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.grid(False)
    axes.set_xticks(range(n), plain_names(names), rotation=90)
    axes.set_yticks(range(n), plain_names(names))
    axes.tick_params(length=0, labelsize=8 if n > 15 else 10)
    if n <= 12:
        for i, j in np.argwhere(np.isfinite(matrix)):
            colour = "white" if matrix[i, j] > 0.6 else "#222222"
            axes.text(j, i, f"{matrix[i, j]:.2f}".lstrip("0"), ha="center", va="center", fontsize=8, color=colour)
    axes.set_xlabel(x_label)
    axes.set_ylabel("the record has")
    axes.set_title(plain(title), loc="left")
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=25, pad=0.02)
    bar.set_label("share of the row's records")
    return figure
