"""Metrics of a classifier, shared by training and the commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.metrics.bootstrap import (
    bootstrap_samples,
    percentile_interval,
    percentile_intervals,
    resampled_sums,
    subject_groups,
)
from cmelt_plugin.evaluation.metrics.cinc2021 import cinc_score, match_classes, record_rewards, sinus_rhythm_index
from cmelt_plugin.evaluation.metrics.multi_label import ClassMetrics, classification_metrics, decide

CHOSEN_HERE = "_at_chosen"
"""Suffix of metrics at thresholds that were chosen on the same records, which flatters them."""

DECISION_METRICS = ("macro_f1", "accuracy", "exact_match", "cinc_score")


class CincScoring(NamedTuple):
    """How the CinC 2021 score is computed from N × C decisions.

    Attributes:
        columns: int64 ``[K]``, column of each class of the reward matrix.
        weights: ``[K, K]``.
        sinus: column of sinus rhythm in the matrix.
        threshold: one probability for all classes, or None: the thresholds chosen on validation data.
    """

    columns: np.ndarray
    weights: np.ndarray
    sinus: int
    threshold: float | None

    @classmethod
    def of(
        cls, classes: Sequence[str], weights: np.ndarray, names: Sequence[str], threshold: str = "validation"
    ) -> CincScoring:
        """The reward matrix of ``cinc2021.load_cinc_weights`` applied to the classes ``names``.

        Raises:
            DataError: a scored class is not among ``names``, or ``threshold`` is neither ``validation`` nor a number
                between 0 and 1.
        """
        value: float | None = None
        if threshold != "validation":
            try:
                value = float(threshold)
            except ValueError:
                value = -1.0
            if not 0.0 < value < 1.0:
                raise DataError(f"cinc_threshold={threshold!r}: must be 'validation' or a number between 0 and 1")
        return cls(match_classes(names, classes), np.asarray(weights), sinus_rhythm_index(classes), value)


@dataclass(frozen=True)
class ClassifierEvaluation:
    """A classifier on one set of records.

    Attributes:
        names: the C classes.
        per_class: class → AUC, average precision, F1 …
        excluded: classes without positives or without negatives.
        metrics: name → value in the unit interval; those at thresholds chosen here end in :data:`CHOSEN_HERE`.
        intervals: (low, high) for some of ``metrics`` and for ``auc/<class>``.
        n_records, n_subjects: sizes.
        chosen_here: the thresholds were chosen on these records.
        undecided: classes without a threshold.
    """

    names: list[str]
    per_class: dict[str, ClassMetrics]
    excluded: list[str]
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    n_records: int
    n_subjects: int
    chosen_here: bool = False
    undecided: list[str] = field(default_factory=list)

    def logged(self) -> dict[str, float]:
        """``metrics``, limits of their intervals and the AUC of each class, as flat names for a training log."""
        values = dict(self.metrics)
        for name, (low, high) in self.intervals.items():
            if name in self.metrics:
                values[f"{name}_low"], values[f"{name}_high"] = low, high
        excluded = set(self.excluded)
        values.update({f"auc_{name}": one.auc for name, one in self.per_class.items() if name not in excluded})
        values["classes_without_auc"] = float(len(excluded))
        return values


def probabilities(logits: np.ndarray, multi_class: bool) -> np.ndarray:
    """``[N, C]`` logits → float64 probabilities: sigmoid of each, or softmax over the classes."""
    from scipy.special import expit, softmax

    logits = np.asarray(logits, dtype=np.float64)
    return softmax(logits, axis=1) if multi_class else expit(logits)


def evaluate_classifier(
    labels: np.ndarray,
    scores: np.ndarray,
    names: Sequence[str],
    *,
    multi_class: bool = False,
    thresholds: np.ndarray | None = None,
    chosen_here: bool = False,
    cinc: CincScoring | None = None,
    subjects: Sequence[str] | None = None,
    n_bootstrap: int = 0,
    seed: int = 0,
) -> ClassifierEvaluation:
    """All metrics of a classifier on N records, with intervals.

    Args:
        labels: ``[N, C]`` 0/1, NaN = unknown.
        scores: ``[N, C]`` probabilities.
        names: the C classes.
        multi_class: exclusive classes: the most probable one is the decision and no threshold is used.
        thresholds: ``[C]``, from validation data, NaN = none; None: no metric that needs decisions.
        chosen_here: the thresholds were chosen on these very records.
        cinc: how the CinC 2021 score is computed; None: it is not. An unknown label counts as absent there.
        subjects: N subject ids for the intervals; None or empty ids: records count as subjects.
        n_bootstrap: resamples; 0: no intervals.
        seed: of the resamples.

    Raises:
        ValueError: shapes differ or a score is not finite.
    """
    names = list(names)
    thresholds = None if multi_class else thresholds
    every = classification_metrics(labels, scores, names, thresholds)
    group = subject_groups(len(labels), subjects)
    metrics = {name: getattr(every, name) for name in ("macro_auc", "macro_auprc", "macro_auc_10")}
    intervals: dict[str, tuple[float, float]] = {}
    if n_bootstrap:
        samples = bootstrap_samples(labels, scores, names, subjects, n_bootstrap, seed, thresholds)
        every_interval = percentile_intervals(samples)
        wanted = (*metrics, *DECISION_METRICS)
        intervals = {name: pair for name, pair in every_interval.items() if name in wanted or name.startswith("auc/")}
    if thresholds is not None:
        metrics.update(macro_f1=every.macro_f1, accuracy=every.accuracy, exact_match=every.exact_match)
    if multi_class:
        known = (labels == 1).any(axis=1)
        called = np.asarray(scores).argmax(axis=1)
        right = known & (called == np.nan_to_num(labels).argmax(axis=1))
        metrics["accuracy"] = float(right.sum() / known.sum()) if known.any() else float("nan")
        metrics["macro_f1"] = _f1_of_calls(labels[known] == 1, called[known])
        _add_interval(intervals, "accuracy", right, known, group, n_bootstrap, seed)
    if cinc is not None and (cinc.threshold is not None or thresholds is not None):
        limits = np.full(len(names), cinc.threshold) if cinc.threshold is not None else np.asarray(thresholds)
        calls = decide(scores, limits)
        decided = ((np.asarray(labels) > 0.5)[:, cinc.columns], calls[:, cinc.columns], cinc.weights, cinc.sinus)
        metrics["cinc_score"] = cinc_score(*decided)
        observed, correct, inactive = record_rewards(*decided)
        _add_interval(intervals, "cinc_score", observed - inactive, correct - inactive, group, n_bootstrap, seed)
    if chosen_here:
        fixed = {"cinc_score"} if cinc is not None and cinc.threshold is not None else set()
        flattered = set(DECISION_METRICS) - fixed if thresholds is not None else set()
        metrics = {f"{name}{CHOSEN_HERE}" if name in flattered else name: value for name, value in metrics.items()}
        intervals = {f"{name}{CHOSEN_HERE}" if name in flattered else name: pair for name, pair in intervals.items()}
    undecided = every.undecided if thresholds is not None else []
    return ClassifierEvaluation(
        names=names,
        per_class=every.per_class,
        excluded=every.excluded,
        metrics=metrics,
        intervals=intervals,
        n_records=len(labels),
        n_subjects=int(group.max()) + 1,
        chosen_here=chosen_here,
        undecided=undecided,
    )


def ratio_interval(above: np.ndarray, below: np.ndarray, group: np.ndarray, n: int, seed: int) -> tuple[float, float] | None:
    """Bootstrap interval of Σ above / Σ below, ``[N]`` each, resampling the groups (``bootstrap.subject_groups``)."""
    drawn = resampled_sums(np.stack([above, below], axis=1), group, n, seed)
    return percentile_interval(np.divide(drawn[:, 0], drawn[:, 1], out=np.full(len(drawn), np.nan), where=drawn[:, 1] != 0))


def _add_interval(
    intervals: dict, name: str, above: np.ndarray, below: np.ndarray, group: np.ndarray, n: int, seed: int
) -> None:
    pair = ratio_interval(above, below, group, n, seed) if n else None
    if pair is not None:
        intervals[name] = pair


def _f1_of_calls(labels: np.ndarray, called: np.ndarray) -> float:
    """Mean F1 over the classes that occur; ``labels`` bool ``[N, C]``, ``called`` ``[N]`` class numbers."""
    values = []
    for column in np.flatnonzero(labels.any(axis=0)):
        hits = (labels[:, column] & (called == column)).sum()
        values.append(2.0 * hits / (labels[:, column].sum() + (called == column).sum()))
    return float(np.mean(values)) if values else float("nan")
