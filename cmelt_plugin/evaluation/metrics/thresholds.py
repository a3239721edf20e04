"""Thresholds that turn scores into decisions, from validation data."""

from __future__ import annotations

import numpy as np

from cmelt_plugin.evaluation.metrics.multi_label import check_shapes

F1, BALANCED_ACCURACY = "f1", "balanced_accuracy"
RULES = (F1, BALANCED_ACCURACY)


def choose_thresholds(labels: np.ndarray, scores: np.ndarray, rule: str = F1) -> np.ndarray:
    """The thresholds of largest F1, or of largest balanced accuracy, per class.

    To be called on validation data: a threshold chosen on the records it is then judged by flatters F1 and accuracy.

    Args:
        labels: ``[N, C]`` 0/1, NaN = unknown.
        scores: ``[N, C]``, larger = more likely.
        rule: ``f1`` or ``balanced_accuracy``, the mean of sensitivity and specificity.

    Returns:
        float64 ``[C]``: half-way between the last score called positive and the next lower one, so that rounding moves
        no record across; the lowest score where everything is called positive; of equally good ones the largest. NaN
        for a class without a positive, with ``balanced_accuracy`` also for one without a negative.

    Raises:
        ValueError: shapes differ, a score is not finite, or there is no such rule.
    """
    if rule not in RULES:
        raise ValueError(f"rule {rule!r}, not one of {', '.join(RULES)}")
    labels, scores = check_shapes(labels, scores, range(np.shape(labels)[1] if np.ndim(labels) == 2 else 0))
    thresholds = np.full(labels.shape[1], np.nan)
    for column in range(labels.shape[1]):
        known = ~np.isnan(labels[:, column])
        thresholds[column] = _best_threshold(labels[known, column] > 0.5, scores[known, column], rule)
    return thresholds


def _best_threshold(target: np.ndarray, score: np.ndarray, rule: str) -> float:
    positives = int(target.sum())
    negatives = len(target) - positives
    if not positives or (rule == BALANCED_ACCURACY and not negatives):
        return float("nan")
    order = np.argsort(-score, kind="stable")
    score, hits = score[order], np.cumsum(target[order])
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True))  # of each group of equal scores
    if rule == F1:
        worth = 2.0 * hits[last] / (last + 1 + positives)
    else:
        worth = hits[last] / positives - (last + 1 - hits[last]) / negatives
    best = last[np.argmax(worth)]
    lowest = score[best]
    if best + 1 == len(score):
        return float(lowest)
    middle = score[best + 1] + (lowest - score[best + 1]) / 2
    return float(middle if middle > score[best + 1] else lowest)
