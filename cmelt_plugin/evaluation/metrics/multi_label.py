"""Metrics of multi-label classification.

Every metric leaves out unknown labels (NaN). A class without a positive or without a negative has no AUC: it is left out
of the means and named, never counted as 0 or 0.5. Thresholds are given, never chosen on the data they are applied to
(see :mod:`cmelt_plugin.evaluation.metrics.thresholds`).
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

MANY_POSITIVES = 10  # below this, one record decides over several points of a class's AUC


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


class ClassMetrics(NamedTuple):
    """One class. What is not defined is NaN.

    Attributes:
        positives, negatives: known labels of each kind.
        auc: area under the ROC curve.
        auprc: average precision.
        f1: at ``threshold``; NaN without one.
        threshold: the threshold that was given; a record is called positive from it on.
        prevalence: positives among known labels, which is the average precision of chance.
    """

    positives: int
    negatives: int
    auc: float
    auprc: float
    f1: float
    threshold: float
    prevalence: float


@dataclass(frozen=True)
class ClassificationMetrics:
    """All classes of one set of records; see :func:`classification_metrics`.

    Attributes:
        macro_auc: mean AUC over the classes that have one; NaN when none has.
        macro_auprc: mean average precision over the same classes.
        macro_auc_10: mean AUC over those of them with at least 10 positives; NaN when there are none.
        macro_f1: mean F1 over those of them with a threshold; None without thresholds.
        accuracy: share of right yes/no decisions over known cells; None without thresholds.
        exact_match: share of records with every decision right; None without thresholds.
        per_class: class → its metrics, all classes, in the order given.
        excluded: classes without positives or without negatives.
        undecided: classes for which no threshold could be chosen (NaN); they count in no metric that needs one.
    """

    macro_auc: float
    macro_auprc: float
    macro_auc_10: float
    macro_f1: float | None
    accuracy: float | None
    exact_match: float | None
    per_class: dict[str, ClassMetrics]
    excluded: list[str]
    undecided: list[str] = field(default_factory=list)


def macro_auc(labels: np.ndarray, scores: np.ndarray, names: Sequence[str]) -> AUC:
    """
    Args:
        labels: ``[N, C]`` 0/1, NaN = unknown (left out of that class).
        scores: ``[N, C]``, larger = more likely; only their order within a class matters.
        names: the C classes.

    Raises:
        ValueError: shapes differ or a score is not finite.
    """
    labels, scores = check_shapes(labels, scores, names)
    per_class, excluded = {}, []
    for column, name in enumerate(names):
        known = ~np.isnan(labels[:, column])
        area = rank_auc(labels[known, column] > 0.5, scores[known, column])
        if np.isnan(area):
            excluded.append(name)
        else:
            per_class[name] = area
    return AUC(_mean(list(per_class.values())), per_class, excluded)


def classification_metrics(
    labels: np.ndarray, scores: np.ndarray, names: Sequence[str], thresholds: Sequence[float] | np.ndarray | None = None
) -> ClassificationMetrics:
    """Every metric of one set of records.

    Args:
        labels: ``[N, C]`` 0/1, NaN = unknown.
        scores: ``[N, C]``, larger = more likely.
        names: the C classes.
        thresholds: ``[C]``, chosen on other data; NaN = none for that class. None: no metric that needs decisions.

    Raises:
        ValueError: shapes differ or a score is not finite.
    """
    labels, scores = check_shapes(labels, scores, names)
    if thresholds is not None:
        thresholds = np.asarray(thresholds, dtype=np.float64)
        if thresholds.shape != (len(names),):
            raise ValueError(f"thresholds {thresholds.shape} for {len(names)} classes")
    per_class: dict[str, ClassMetrics] = {}
    for column, name in enumerate(names):
        threshold = float("nan") if thresholds is None else float(thresholds[column])
        known = ~np.isnan(labels[:, column])
        per_class[name] = _class_metrics(labels[known, column] > 0.5, scores[known, column], threshold)

    measured = [metrics for metrics in per_class.values() if metrics.positives and metrics.negatives]
    macro_f1 = accuracy = exact_match = None
    if thresholds is not None:
        macro_f1 = _mean([metrics.f1 for metrics in measured if not np.isnan(metrics.f1)])
        accuracy, exact_match = decision_metrics(labels, decide(scores, thresholds), ~np.isnan(thresholds))
    return ClassificationMetrics(
        macro_auc=_mean([metrics.auc for metrics in measured]),
        macro_auprc=_mean([metrics.auprc for metrics in measured]),
        macro_auc_10=_mean([metrics.auc for metrics in measured if metrics.positives >= MANY_POSITIVES]),
        macro_f1=macro_f1,
        accuracy=accuracy,
        exact_match=exact_match,
        per_class=per_class,
        excluded=[name for name, metrics in per_class.items() if not (metrics.positives and metrics.negatives)],
        undecided=[] if thresholds is None else [name for name, t in zip(names, thresholds) if np.isnan(t)],
    )


# scikit-learn's roc_auc_score and average_precision_score give the same values up to rounding, but take 25 and 20 times as
# long for 2,000 records, 3.2 and 2.3 times as long for 20,000 (one core, scikit-learn 1.6 and later).
def rank_auc(target: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve from ranks (Mann–Whitney), in float64; equal scores count half.

    Args:
        target: bool ``[N]``.
        score: ``[N]``.

    Returns:
        NaN without a positive or without a negative.
    """
    from scipy.stats import rankdata

    positives = int(np.count_nonzero(target))
    negatives = len(target) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(np.asarray(score, dtype=np.float64))
    return float((ranks[target].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(target: np.ndarray, score: np.ndarray) -> float:
    """Area under the precision–recall curve as a sum of steps, without interpolation; records of equal score enter together.

    Args:
        target: bool ``[N]``.
        score: ``[N]``.

    Returns:
        NaN without a positive.
    """
    positives = int(np.count_nonzero(target))
    if not positives:
        return float("nan")
    order = np.argsort(-np.asarray(score, dtype=np.float64), kind="stable")
    score, hits = np.asarray(score)[order], np.cumsum(np.asarray(target)[order])
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True))  # of each group of equal scores
    precision = hits[last] / (last + 1)
    return float((np.diff(hits[last], prepend=0) * precision).sum() / positives)


def decide(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """bool ``[N, C]``: score reaches its class's threshold; False throughout where that is NaN."""
    return np.asarray(scores, dtype=np.float64) >= np.asarray(thresholds, dtype=np.float64)


def decision_metrics(labels: np.ndarray, decisions: np.ndarray, decided: np.ndarray) -> tuple[float, float]:
    """Accuracy over known cells and share of records whose every known cell is right.

    Args:
        labels: ``[N, C]`` 0/1, NaN = unknown.
        decisions: bool ``[N, C]``.
        decided: bool ``[C]``, True = the class counts.

    Returns:
        NaN where there is no such cell or record.
    """
    known = ~np.isnan(labels) & decided
    wrong = known & ((labels > 0.5) != decisions)
    some = known.any(axis=1)
    return _mean(~wrong[known]), _mean(~wrong[some].any(axis=1))


def balanced_accuracy(labels: np.ndarray, decisions: np.ndarray) -> float:
    """Mean of sensitivity and specificity, mean over the classes that have both kinds of labels; NaN where none has.

    Args:
        labels: ``[N, C]`` 0/1, NaN = unknown.
        decisions: bool ``[N, C]``.
    """
    return float(balanced_accuracy_of_sums(class_counts(labels, decisions).sum(axis=0)))


def class_counts(labels: np.ndarray, decisions: np.ndarray) -> np.ndarray:
    """What each record brings to :func:`balanced_accuracy_of_sums`: float64 ``[N, 4 C]``.

    For each class: called rightly positive, positive, called rightly negative, negative.
    """
    positive, negative = labels == 1, labels == 0
    counts = [positive & decisions, positive, negative & ~decisions, negative]
    return np.concatenate(counts, axis=1).astype(np.float64)


def balanced_accuracy_of_sums(sums: np.ndarray) -> float:
    """Balanced accuracy from sums over records ``[4 C]`` of :func:`class_counts`."""
    right_positive, positives, right_negative, negatives = np.split(np.asarray(sums, dtype=np.float64), 4)
    both = (positives > 0) & (negatives > 0)
    return _mean((right_positive[both] / positives[both] + right_negative[both] / negatives[both]) / 2)


def check_shapes(labels: np.ndarray, scores: np.ndarray, names: Sized) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores as float64 ``[N, C]``; ValueError where they do not fit or a score is not finite."""
    labels, scores = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if labels.ndim != 2 or labels.shape != scores.shape or labels.shape[1:] != (len(names),):
        raise ValueError(f"labels {labels.shape}, scores {scores.shape} and {len(names)} class names do not fit")
    if not np.isfinite(scores).all():
        raise ValueError("scores hold NaN or infinity")
    return labels, scores


def _class_metrics(target: np.ndarray, score: np.ndarray, threshold: float) -> ClassMetrics:
    """Metrics of one class from its known labels."""
    positives = int(target.sum())
    negatives = len(target) - positives
    f1 = float("nan")
    if positives and not np.isnan(threshold):
        decision = score >= threshold
        f1 = 2.0 * int((decision & target).sum()) / (int(decision.sum()) + positives)
    return ClassMetrics(
        positives=positives,
        negatives=negatives,
        auc=rank_auc(target, score),
        auprc=average_precision(target, score) if negatives else float("nan"),
        f1=f1,
        threshold=threshold,
        prevalence=positives / len(target) if len(target) else float("nan"),
    )


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
