"""What figures of one curve per class share, ROC and precision–recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cmelt_plugin.evaluation.plots.style import PALETTE, new_figure, plain


def new_curves(n: int, title: str) -> tuple[Any, Any]:
    """A figure for ``n`` curves, with room for a legend, and its axes, 0 to 1 both ways.

    Raises:
        ValueError: more curves than colours.
    """
    if n > len(PALETTE):
        raise ValueError(f"{n} curves, at most {len(PALETTE)} can be told apart")
    figure = new_figure(4.4, 5.3)
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_title(plain(title), loc="left")
    return figure, axes


def known_labels(labels: np.ndarray, scores: np.ndarray, names: Sequence[str], name: str) -> tuple[np.ndarray, np.ndarray]:
    """The known labels of a class, bool ``[n]``, and their scores ``[n]``.

    Args:
        labels: ``[N, C]`` 0/1, NaN = unknown.
        scores: ``[N, C]``.
        names: the C classes.
        name: one of them.
    """
    column = list(names).index(name)
    known = ~np.isnan(np.asarray(labels, dtype=float)[:, column])
    return labels[known, column] > 0.5, scores[known, column]
