"""Confidence intervals: what the metrics would have been with other patients (percentile bootstrap).

Subjects are drawn with replacement, each with all its records, because the records of one person are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Callable, NamedTuple

import numpy as np

from cmelt_plugin.evaluation.metrics.multi_label import MANY_POSITIVES, check_shapes, decide

LEVEL = 0.95
_CHUNK_CELLS = 1 << 18  # counts worked on at once: they stay in the processor's cache


def bootstrap_samples(
    labels: np.ndarray,
    scores: np.ndarray,
    names: Sequence[str],
    subjects: Sequence[str] | None = None,
    n: int = 1000,
    seed: int = 0,
    thresholds: Sequence[float] | np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """The metrics of ``multi_label.classification_metrics`` on resamples, for :func:`percentile_intervals`.

    A resample in which a class has lost its positives (or negatives) leaves that class out of that resample's means. Equal
    ``subjects``, ``n`` and ``seed`` give the same resamples, so that metrics of several models on the same records can be
    averaged or subtracted sample by sample.

    Args:
        labels: ``[N, C]`` 0/1, NaN = unknown.
        scores: ``[N, C]``, larger = more likely.
        names: the C classes.
        subjects: N subject ids; None, or an empty id: each such record is a subject of its own.
        n: resamples.
        seed: of the resamples.
        thresholds: ``[C]``, chosen on other data, NaN = none; they stay as they are in all resamples.

    Returns:
        float64 ``[n]``, NaN = undefined, under ``macro_auc``, ``macro_auprc``, ``macro_auc_10``, ``auc/<class>``,
        ``auprc/<class>``; with thresholds also ``macro_f1``, ``f1/<class>``, ``accuracy``, ``exact_match``.

    Raises:
        ValueError: shapes differ, there is no record, or a score is not finite.
    """
    labels, scores = check_shapes(labels, scores, names)
    group = subject_groups(len(labels), subjects)
    columns = [_SortedClass.of(labels[:, c], scores[:, c]) for c in range(len(names))]
    decided = None if thresholds is None else _Decisions.of(labels, scores, np.asarray(thresholds, dtype=np.float64))

    n_groups = int(group.max()) + 1
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK_CELLS // max(len(labels), n_groups))
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, n, step):
        counts = draw_counts(n_groups, min(step, n - start), rng)[:, group]
        areas = [column.areas(counts) for column in columns]
        part = {"auc": np.stack([a for a, _ in areas], axis=1), "auprc": np.stack([p for _, p in areas], axis=1)}
        if decided is not None:
            part.update(decided.metrics(counts))
            part["f1"] = np.where(np.isnan(part["auc"]), np.nan, part["f1"])
        parts.append(part)
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    many = np.array([len(column.positive) >= MANY_POSITIVES for column in columns], dtype=bool)
    samples = {"macro_auc": _row_means(values["auc"]), "macro_auprc": _row_means(values["auprc"])}
    samples["macro_auc_10"] = _row_means(values["auc"][:, many])
    if decided is not None:
        samples["macro_f1"] = _row_means(values["f1"])
        samples["accuracy"], samples["exact_match"] = values["accuracy"], values["exact_match"]
    for kind in ("auc", "auprc", "f1"):
        if kind in values:
            samples.update({f"{kind}/{name}": values[kind][:, c] for c, name in enumerate(names)})
    return samples


def resampled_sums(values: np.ndarray, group: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Sums over each resample of what the records bring, for metrics made of sums.

    Args:
        values: ``[N, K]``.
        group: ``[N]``, number of each record's subject (:func:`subject_groups`).
        n, seed: as in :func:`bootstrap_samples`; the resamples are the same.

    Returns:
        float64 ``[n, K]``.
    """
    values = np.asarray(values, dtype=np.float64)
    n_groups = int(group.max()) + 1
    sums = np.stack([np.bincount(group, weights=column, minlength=n_groups) for column in values.T])
    rng = np.random.default_rng(seed)
    step = max(1, (1 << 22) // n_groups)
    return np.concatenate([draw_counts(n_groups, min(step, n - start), rng) @ sums.T for start in range(0, n, step)])


def metrics_of_sums(
    values: np.ndarray, group: np.ndarray, compute: Callable[[np.ndarray], Mapping[str, float]], n: int, seed: int
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Metrics that are made of sums over records, and their 95 % intervals.

    Args:
        values: ``[N, K]``, what the records bring.
        group, n, seed: as :func:`resampled_sums`; n = 0: no intervals.
        compute: sums float64 ``[K]`` → metrics, NaN = undefined.

    Returns:
        The metrics that are defined, and intervals of those that some resample defines.
    """
    values = np.asarray(values, dtype=np.float64)
    metrics = {name: float(value) for name, value in compute(values.sum(axis=0)).items() if not np.isnan(value)}
    samples = [compute(sums) for sums in resampled_sums(values, group, n, seed)] if n else []
    intervals = percentile_intervals({name: np.array([sample[name] for sample in samples]) for name in metrics})
    return metrics, intervals


def subject_groups(n_records: int, subjects: Sequence[str] | None = None) -> np.ndarray:
    """Number of each record's subject, int64 ``[N]``, 0 … subjects − 1; without a subject id a record stands alone.

    Raises:
        ValueError: no record, or another number of subject ids.
    """
    if not n_records:
        raise ValueError("no records to resample")
    if subjects is None:
        return np.arange(n_records)
    if len(subjects) != n_records:
        raise ValueError(f"{len(subjects)} subject ids for {n_records} records")
    keys = [("subject", str(subject)) if str(subject) else ("record", str(row)) for row, subject in enumerate(subjects)]
    numbers: dict[tuple[str, str], int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def draw_counts(n_groups: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """How often each subject is drawn when as many are drawn as there are: int64 ``[n, n_groups]``."""
    drawn = rng.integers(n_groups, size=(n, n_groups)) + np.arange(n)[:, None] * n_groups
    return np.bincount(drawn.ravel(), minlength=n * n_groups).reshape(n, n_groups)


def percentile_intervals(samples: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """95 % :func:`percentile_interval` of each metric, low and high; one that no sample defines is missing."""
    intervals = {name: percentile_interval(values) for name, values in samples.items()}
    return {name: interval for name, interval in intervals.items() if interval is not None}


def percentile_interval(samples: np.ndarray, level: float = LEVEL) -> tuple[float, float] | None:
    """The middle ``level`` of the samples that are defined (not NaN); None when none is."""
    samples = np.asarray(samples, dtype=np.float64)
    samples = samples[~np.isnan(samples)]
    if not len(samples):
        return None
    low, high = np.percentile(samples, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


class _SortedClass(NamedTuple):
    """The known labels of one class, each kind by rising score.

    Attributes:
        positive, negative: rows ``[P]`` and ``[Q]``.
        below, up_to: ``[P]``, how many negatives have a lower score than the positive, and a lower or equal one.
        first: ``[P]``, place of the first positive with the same score.
    """

    positive: np.ndarray
    negative: np.ndarray
    below: np.ndarray
    up_to: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, label: np.ndarray, score: np.ndarray) -> _SortedClass:
        """``label [N]`` 0/1/NaN, ``score [N]``."""
        order = np.argsort(score, kind="stable")
        order = order[~np.isnan(label[order])]
        is_positive = label[order] > 0.5
        positive, negative = order[is_positive], order[~is_positive]
        high, low = score[positive], score[negative]
        return cls(
            positive, negative, np.searchsorted(low, high), np.searchsorted(low, high, "right"), np.searchsorted(high, high)
        )

    def areas(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """AUC and average precision when record i is there ``counts[r, i]`` times: float64 ``[R]`` each, NaN = undefined."""
        n_positive, n_negative = self._running(counts, self.positive), self._running(counts, self.negative)
        positives, negatives = n_positive[:, -1].astype(np.float64), n_negative[:, -1].astype(np.float64)
        weight = counts[:, self.positive]
        below = n_negative[:, self.below]
        pairs = (weight * (below + n_negative[:, self.up_to])).sum(axis=1) / 2
        hits = n_positive[:, -1:] - n_positive[:, self.first]
        called = hits + n_negative[:, -1:] - below
        steps = (weight * (hits / np.maximum(called, 1))).sum(axis=1)
        defined = (positives > 0) & (negatives > 0)
        auc = np.where(defined, pairs / np.maximum(positives * negatives, 1), np.nan)
        return auc, np.where(defined, steps / np.maximum(positives, 1), np.nan)

    @staticmethod
    def _running(counts: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """``[R, 1 + len(rows)]``: sum of the counts of the first 0, 1, 2, … rows."""
        running = np.zeros((len(counts), len(rows) + 1), dtype=np.int64)
        np.cumsum(counts[:, rows], axis=1, out=running[:, 1:])
        return running


class _Decisions(NamedTuple):
    """What sums over records F1, accuracy and exact match are made of.

    Attributes:
        cells: ``[N, 3 C]``: hits, called, positives of each class, among known labels.
        right, known: ``[N]``: right decisions and known cells of each record.
        thresholds: ``[C]``.
    """

    cells: np.ndarray
    right: np.ndarray
    known: np.ndarray
    thresholds: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, scores: np.ndarray, thresholds: np.ndarray) -> _Decisions:
        if thresholds.shape != labels.shape[1:]:
            raise ValueError(f"thresholds {thresholds.shape} for {labels.shape[1]} classes")
        known = ~np.isnan(labels)
        positive, called = labels > 0.5, decide(scores, thresholds)
        cells = np.concatenate([positive & called, known & called, positive], axis=1).astype(np.float64)
        known = known & ~np.isnan(thresholds)
        return cls(cells, (known & (positive == called)).sum(axis=1), known.sum(axis=1), thresholds)

    def metrics(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """``f1 [R, C]``, ``accuracy [R]``, ``exact_match [R]``; NaN = undefined."""
        weight = counts.astype(np.float64)
        hits, called, positives = np.split(weight @ self.cells, 3, axis=1)
        undefined = (positives == 0) | np.isnan(self.thresholds)
        some = self.known > 0
        return {
            "f1": np.where(undefined, np.nan, 2 * hits / np.maximum(called + positives, 1)),
            "accuracy": _ratio(weight @ self.right, weight @ self.known),
            "exact_match": _ratio(weight @ (some & (self.right == self.known)), weight @ some),
        }


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.where(below > 0, above / np.maximum(below, 1), np.nan)


def _row_means(values: np.ndarray) -> np.ndarray:
    """Mean of what is defined in each row of ``[R, C]``; NaN where nothing is."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis=1), defined.sum(axis=1))
