"""Thresholds that turn scores into decisions, from validation data."""

from __future__ import annotations

import numpy as np

from cmelt_plugin.evaluation.metrics.multi_label import check_shapes


def choose_thresholds(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The thresholds of largest F1 per class.

    To be called on validation data: a threshold chosen on the records it is then judged by flatters F1 and accuracy.

    Args:
        labels: ``[N, C]`` 0/1, NaN = unknown.
        scores: ``[N, C]``, larger = more likely.

    Returns:
        float64 ``[C]``: half-way between the last score called positive and the next lower one, so that rounding moves
        no record across; the lowest score where everything is called positive; of equally good ones the largest. NaN
        for a class without a positive.

    Raises:
        ValueError: shapes differ or a score is not finite.
    """
    labels, scores = check_shapes(labels, scores, range(np.shape(labels)[1] if np.ndim(labels) == 2 else 0))
    thresholds = np.full(labels.shape[1], np.nan)
    for column in range(labels.shape[1]):
        known = ~np.isnan(labels[:, column])
        thresholds[column] = _best_threshold(labels[known, column] > 0.5, scores[known, column])
    return thresholds


def _best_threshold(target: np.ndarray, score: np.ndarray) -> float:
    positives = int(target.sum())
    if not positives:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    score, hits = score[order], np.cumsum(target[order])
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True))  # of each group of equal scores
    best = last[np.argmax(2.0 * hits[last] / (last + 1 + positives))]
    lowest = score[best]
    if best + 1 == len(score):
        return float(lowest)
    middle = score[best + 1] + (lowest - score[best + 1]) / 2
    return float(middle if middle > score[best + 1] else lowest)
