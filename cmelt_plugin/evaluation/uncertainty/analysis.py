"""The uncertainty of a split against what evaluations said of its records, and against disturbances of the recordings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.metrics.bootstrap import draw_counts, percentile_interval, subject_groups
from cmelt_plugin.evaluation.metrics.regression import spearman
from cmelt_plugin.evaluation.metrics.uncertainty import (
    Metric,
    Trend,
    binned_trend,
    median_halves,
    rise_with_disturbance,
)
from cmelt_plugin.evaluation.uncertainty.outcomes import Outcome

COLLAPSED = 1e-3
"""Spread of an uncertainty over its mean below which it says the same of every record."""


class Comparison(NamedTuple):
    """One metric of one evaluation by uncertainty.

    Attributes:
        every, low, high: of all records, of those up to the median of the uncertainty and of those above it; NaN = undefined.
        counts: records of the three.
        intervals: 95 % of ``every``, ``low`` and ``high``, subjects resampled; None where there is none.
        trend: in ten bins.
    """

    every: float
    low: float
    high: float
    counts: tuple[int, int, int]
    intervals: tuple[tuple[float, float] | None, ...]
    trend: Trend


def match_records(outcome: Outcome, record_id: Sequence[str], source: str, split: str) -> np.ndarray:
    """Row of the split of each record of an outcome, int64 ``[N]``.

    Raises:
        DataError: a record is not in the split.
    """
    rows = {name: row for row, name in enumerate(record_id)}
    missing = [name for name in outcome.record_id if name not in rows]
    if missing:
        raise DataError(
            f"{source}: has {len(missing)} records that are not in {split}, first {missing[0]}; name the split that it was "
            "made on (--manifest, --split)"
        )
    return np.array([rows[name] for name in outcome.record_id], dtype=np.int64)


def compare(
    metric: Metric, uncertainty: np.ndarray, subjects: Sequence[str], n_bootstrap: int = 0, seed: int = 0
) -> Comparison:
    """A metric of N records by their uncertainty ``[N]``; arguments of the intervals as in :mod:`…metrics.bootstrap`."""
    halves = median_halves(uncertainty)
    parts = (np.arange(len(uncertainty)), *halves)
    values = [metric(rows) if len(rows) else float("nan") for rows in parts]
    intervals = [_interval(metric, rows, subjects, n_bootstrap, seed) if n_bootstrap else None for rows in parts]
    counts = (len(parts[0]), len(parts[1]), len(parts[2]))
    return Comparison(values[0], values[1], values[2], counts, tuple(intervals), binned_trend(uncertainty, metric))


def error_correlations(outcome: Outcome, uncertainty: np.ndarray) -> dict[str, float]:
    """Spearman's correlation of the uncertainty with each kind of error, of the records that have one; NaN = undefined."""
    result = {}
    for name, error in outcome.error.items():
        known = ~np.isnan(np.asarray(error, dtype=np.float64))
        result[name] = spearman(uncertainty[known], error[known]) if known.any() else float("nan")
    return result


def disturbance_metrics(levels: Mapping[str, np.ndarray]) -> dict[str, float]:
    """``NAME/monotone``, ``NAME/ends_higher``, ``NAME/chance`` of each disturbance; ``levels``: name → ``[N, L]``."""
    metrics = {}
    for name, values in levels.items():
        rise = rise_with_disturbance(values)
        metrics.update({f"{name}/monotone": rise.monotone, f"{name}/ends_higher": rise.ends_higher})
        metrics[f"{name}/chance"] = rise.chance
    return metrics


def has_collapsed(uncertainty: np.ndarray) -> bool:
    """Whether the uncertainty is the same for all records, within :data:`COLLAPSED` of its mean."""
    return bool(uncertainty.std() <= COLLAPSED * abs(uncertainty.mean()))


def _interval(
    metric: Callable[[np.ndarray], float], rows: np.ndarray, subjects: Sequence[str], n: int, seed: int
) -> tuple[float, float] | None:
    if not len(rows):
        return None
    group = subject_groups(len(rows), [subjects[row] for row in rows])
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(n):
        counts = draw_counts(int(group.max()) + 1, 1, rng)[0]
        samples.append(metric(np.repeat(rows, counts[group])))
    return percentile_interval(np.array(samples))
