"""What an uncertainty is worth: whether metrics get worse as it grows, and whether it grows as signals get worse."""

from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np

from cmelt_plugin.evaluation.metrics.regression import pearson

N_BINS = 10
Metric = Callable[[np.ndarray], float]
"""Rows, int64 ``[n]`` → a metric of these records, NaN where it is not defined."""


class Halves(NamedTuple):
    """Rows of the records up to the median of the uncertainty, and of those above it."""

    low: np.ndarray
    high: np.ndarray


class Trend(NamedTuple):
    """A metric in bins of rising uncertainty.

    Attributes:
        values: float64 ``[bins]``, NaN where the metric is not defined.
        uncertainty: float64 ``[bins]``, mean of each.
        pearson: correlation of the number of the bin with the metric, over bins that define it; NaN for fewer than two.
    """

    values: np.ndarray
    uncertainty: np.ndarray
    pearson: float


class Rise(NamedTuple):
    """How an uncertainty follows L levels of a disturbance, the first of them none.

    Attributes:
        means: float64 ``[L]``, over records.
        monotone: share of records whose uncertainty rises at every step.
        ends_higher: share of records whose uncertainty at the last level is above that without disturbance.
        chance: what ``monotone`` would be if the order of a record's levels were random: 1 / L!.
    """

    means: np.ndarray
    monotone: float
    ends_higher: float
    chance: float


def median_halves(uncertainty: np.ndarray) -> Halves:
    """Split N records at the median of their uncertainty ``[N]``; records at the median are low."""
    low = uncertainty <= np.median(uncertainty)
    return Halves(np.flatnonzero(low), np.flatnonzero(~low))


def equal_count_bins(uncertainty: np.ndarray, n: int = N_BINS) -> list[np.ndarray]:
    """Rows in ``n`` bins of rising uncertainty ``[N]``, as many in each as N allows (the first ones have one more)."""
    return np.array_split(np.argsort(uncertainty, kind="stable"), n)


def binned_trend(uncertainty: np.ndarray, metric: Metric, n: int = N_BINS) -> Trend:
    """A metric in ``n`` equal-count bins of the uncertainty ``[N]`` (PCME++, Chun 2024, figure on uncertainty and recall)."""
    bins = equal_count_bins(uncertainty, n)
    values = np.array([metric(rows) if len(rows) else np.nan for rows in bins])
    means = np.array([uncertainty[rows].mean() if len(rows) else np.nan for rows in bins])
    return Trend(values, means, pearson(np.arange(n), values))


def rise_with_disturbance(levels: np.ndarray) -> Rise:
    """
    Args:
        levels: ``[N, L]``, uncertainty of each record at rising levels of a disturbance, the first without it.

    Raises:
        ValueError: no record, or fewer than two levels.
    """
    levels = np.asarray(levels, dtype=np.float64)
    if levels.ndim != 2 or not len(levels) or levels.shape[1] < 2:
        raise ValueError(f"uncertainties {levels.shape}: needs records at two levels or more")
    rising = (np.diff(levels, axis=1) > 0).all(axis=1)
    chance = 1.0 / float(np.prod(np.arange(1, levels.shape[1] + 1, dtype=np.float64)))
    return Rise(levels.mean(axis=0), float(rising.mean()), float((levels[:, -1] > levels[:, 0]).mean()), chance)
