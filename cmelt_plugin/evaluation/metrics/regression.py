"""Metrics of estimates of a number, in its unit, with intervals over subjects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cmelt_plugin.evaluation.metrics.bootstrap import draw_counts, percentile_intervals, resampled_sums, subject_groups

_CELLS = 1 << 18  # counts worked on at once


def regression_metrics(
    target: np.ndarray, estimate: np.ndarray, low: np.ndarray | None = None, high: np.ndarray | None = None
) -> dict[str, float]:
    """Metrics of N estimates.

    Args:
        target: ``[N]`` true values, all known.
        estimate: ``[N]``.
        low, high: ``[N]`` ends of predictive intervals, or None.

    Returns:
        ``mae`` (mean absolute error), ``bias`` (mean of estimate − target), ``r2`` (1 − Σ errors² / Σ deviations from the mean
        of the targets²), ``spearman``; with intervals ``coverage`` (share of targets within theirs, ends included) and
        ``interval_width`` (mean). NaN where not defined.

    Raises:
        ValueError: lengths differ, nothing to measure, or a value that is not finite.
    """
    columns = _columns(target, estimate, low, high)
    return {**_of_sums(columns.sum(axis=0), low is not None), "spearman": spearman(target, estimate)}


def regression_intervals(
    target: np.ndarray,
    estimate: np.ndarray,
    low: np.ndarray | None = None,
    high: np.ndarray | None = None,
    subjects: Sequence[str] | None = None,
    n: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % intervals of :func:`regression_metrics`, subjects resampled with all their records.

    Args:
        target, estimate, low, high: as there.
        subjects, n, seed: as :func:`cmelt_plugin.evaluation.metrics.bootstrap.bootstrap_samples`; the resamples are the same.

    Returns:
        Metric → (low, high); one that no resample defines is missing.
    """
    columns = _columns(target, estimate, low, high)
    if not n:
        return {}
    group = subject_groups(len(columns), subjects)
    rows = [_of_sums(sums, low is not None) for sums in resampled_sums(columns, group, n, seed)]
    samples = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    ranks = _TiedRanks(target), _TiedRanks(estimate)
    rng = np.random.default_rng(seed)
    n_groups = int(group.max()) + 1
    step = max(1, _CELLS // max(len(group), n_groups))
    parts = [
        _rank_correlations(*ranks, draw_counts(n_groups, min(step, n - start), rng)[:, group]) for start in range(0, n, step)
    ]
    return percentile_intervals({**samples, "spearman": np.concatenate(parts)})


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation of ``[N]`` and ``[N]``, equal values sharing the mean of their ranks; NaN where one does not vary."""
    return float(_rank_correlations(_TiedRanks(a), _TiedRanks(b), np.ones((1, len(a)), dtype=np.int64))[0])


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of ``[N]`` and ``[N]`` where both are known; NaN for fewer than two such pairs, or where one is constant."""
    pairs = np.stack([np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)])
    pairs = pairs[:, ~np.isnan(pairs).any(axis=0)]
    if pairs.shape[1] < 2:
        return float("nan")
    x, y = pairs - pairs.mean(axis=1, keepdims=True)
    scale = np.sqrt((x**2).sum() * (y**2).sum())
    return float((x * y).sum() / scale) if scale > 0 else float("nan")


def _columns(target: np.ndarray, estimate: np.ndarray, low: np.ndarray | None, high: np.ndarray | None) -> np.ndarray:
    """What each record brings to the sums: ``[N, 6]``, with intervals ``[N, 8]``."""
    given = [target, estimate] if low is None or high is None else [target, estimate, low, high]
    arrays = [np.asarray(values, dtype=np.float64) for values in given]
    if arrays[0].ndim != 1 or not len(arrays[0]) or any(values.shape != arrays[0].shape for values in arrays):
        raise ValueError(f"targets and estimates {[values.shape for values in arrays]}: must be of one length, not empty")
    if not all(np.isfinite(values).all() for values in arrays):
        raise ValueError("targets or estimates hold NaN or infinity")
    truth, value = arrays[:2]
    error, centred = value - truth, truth - truth.mean()  # centred: their squares are of the size of the variance
    columns = [np.ones(len(truth)), np.abs(error), error, error**2, centred, centred**2]
    if len(arrays) == 4:
        columns += [((arrays[2] <= truth) & (truth <= arrays[3])).astype(np.float64), arrays[3] - arrays[2]]
    return np.stack(columns, axis=1)


def _of_sums(sums: np.ndarray, with_intervals: bool) -> dict[str, float]:
    n, absolute, signed, squared, total, squares = sums[:6]
    variation = squares - total**2 / n
    metrics = {"mae": absolute / n, "bias": signed / n, "r2": 1 - squared / variation if variation > 1e-12 * n else np.nan}
    if with_intervals:
        metrics["coverage"], metrics["interval_width"] = sums[6] / n, sums[7] / n
    return {name: float(value) for name, value in metrics.items()}


class _TiedRanks:
    """Values sorted once, so that the ranks of any resample are sums of counts."""

    def __init__(self, values: np.ndarray) -> None:
        values = np.asarray(values, dtype=np.float64)
        self.order = np.argsort(values, kind="stable")
        distinct, group = np.unique(values, return_inverse=True)
        self.group = group.reshape(-1)
        self.starts = np.searchsorted(values[self.order], distinct)

    def of(self, counts: np.ndarray) -> np.ndarray:
        """Mid-ranks float64 ``[R, N]`` when record i is there ``counts[r, i]`` times."""
        sizes = np.add.reduceat(counts[:, self.order], self.starts, axis=1).astype(np.float64)
        middle = np.cumsum(sizes, axis=1) - sizes / 2 + 0.5
        return middle[:, self.group]


def _rank_correlations(a: _TiedRanks, b: _TiedRanks, counts: np.ndarray) -> np.ndarray:
    """Spearman's correlation on each resample: float64 ``[R]``, NaN where one of the two does not vary."""
    weight = counts.astype(np.float64)
    middle = (weight.sum(axis=1, keepdims=True) + 1) / 2
    x, y = a.of(counts) - middle, b.of(counts) - middle
    scale = np.sqrt((weight * x * x).sum(axis=1) * (weight * y * y).sum(axis=1))
    return np.divide((weight * x * y).sum(axis=1), scale, out=np.full(len(scale), np.nan), where=scale > 0)
