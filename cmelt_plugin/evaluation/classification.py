"""Metrics of multi-label classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class AUC(NamedTuple):
    """Areas under the ROC curve.

    Attributes:
        macro: unweighted mean over the classes that have one; NaN when none has.
        per_class: class → area, for classes with at least one positive and one negative.
        excluded: the other classes.
    """

    macro: float
    per_class: dict[str, float]
    excluded: list[str]


def macro_auc(labels: np.ndarray, scores: np.ndarray, names: Sequence[str]) -> AUC:
    """
    Args:
        labels: ``[N, C]`` 0/1, NaN = unknown (left out of that class).
        scores: ``[N, C]``, larger = more likely; only their order within a class matters.
        names: the C classes.

    Raises:
        ValueError: shapes differ or a score is not finite.
    """
    from sklearn.metrics import roc_auc_score

    labels, scores = np.asarray(labels, dtype=float), np.asarray(scores, dtype=float)
    if labels.shape != scores.shape or labels.shape[1:] != (len(names),):
        raise ValueError(f"labels {labels.shape}, scores {scores.shape} and {len(names)} class names do not fit")
    if not np.isfinite(scores).all():
        raise ValueError("scores hold NaN or infinity")
    per_class, excluded = {}, []
    for column, name in enumerate(names):
        known = ~np.isnan(labels[:, column])
        target = labels[known, column] > 0.5
        if target.any() and not target.all():
            per_class[name] = float(roc_auc_score(target, scores[known, column]))
        else:
            excluded.append(name)
    return AUC(float(np.mean(list(per_class.values()))) if per_class else float("nan"), per_class, excluded)
