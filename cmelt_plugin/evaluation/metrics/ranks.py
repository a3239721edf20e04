"""Both directions of retrieval between N ECGs and their reports: ranks, and what a random order would give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import gammaln
from torch import Tensor

from cmelt_plugin.evaluation.metrics.bootstrap import draw_counts, percentile_interval, subject_groups
from cmelt_plugin.evaluation.metrics.recall import DEPTHS, first_hit_ranks


class Direction(NamedTuple):
    """One direction.

    Attributes:
        gallery: ``pairs``, every record with its report, or ``distinct``, every text once.
        name: ``ecg_to_text`` or ``text_to_ecg``.
        ranks: int64 ``[Q]``, rank of each query's first right item, from 1.
        right: int64 ``[Q]``, right items in the gallery per query.
        gallery_size: items in the gallery.
    """

    gallery: str
    name: str
    ranks: np.ndarray
    right: np.ndarray
    gallery_size: int

    def recall(self, k: int) -> float:
        """R@k: share of queries with a right item among the first k."""
        return float(np.mean(self.ranks <= k))

    @property
    def median_rank(self) -> float:
        return float(np.median(self.ranks))

    def chance_recall(self, k: int) -> float:
        """R@k of a random order: mean over queries of 1 − C(n − m, k) / C(n, k), m = right items, n = gallery."""
        n, m = self.gallery_size, self.right
        if k >= n:
            return 1.0
        possible = n - m >= k
        rest = np.where(possible, n - m, k)
        missed = np.exp(gammaln(rest + 1) - gammaln(rest - k + 1) - gammaln(n + 1) + gammaln(n - k + 1))
        return float(np.mean(np.where(possible, 1 - missed, 1.0)))

    @property
    def chance_median_rank(self) -> float:
        """The first rank by which a random order has met a right item for half of the queries."""
        low, high = 1, self.gallery_size
        while low < high:
            middle = (low + high) // 2
            # A breath of tolerance: chances that are exactly one half must not be missed by rounding.
            low, high = (low, middle) if self.chance_recall(middle) >= 0.5 - 1e-9 else (middle + 1, high)
        return float(low)


def retrieval_directions(ecg: Tensor, text: Tensor, report: Tensor) -> list[Direction]:
    """Both directions over all pairs, then both among distinct reports.

    Args:
        ecg: ``[N, D]`` embeddings of the records.
        text: ``[U, D]`` embeddings of the distinct reports.
        report: int64 ``[N]``, each record's row of ``text``; every row occurs.
    """
    n, u = len(ecg), len(text)
    each = torch.arange(u)
    copies = torch.bincount(report, minlength=u).numpy()
    of_record = copies[report.numpy()]
    # All texts against all ECGs: every text as often as it occurs, so its rank is found once and repeated.
    text_ranks = first_hit_ranks(text, ecg, each, report).numpy() + 1
    return [
        Direction("pairs", "ecg_to_text", _pair_ranks(ecg, text, report), of_record, n),
        Direction("pairs", "text_to_ecg", text_ranks[report.numpy()], of_record, n),
        Direction("distinct", "ecg_to_text", first_hit_ranks(ecg, text, report, each).numpy() + 1, np.ones(n, np.int64), u),
        Direction("distinct", "text_to_ecg", text_ranks, copies, n),
    ]


def _pair_ranks(ecg: Tensor, text: Tensor, report: Tensor) -> np.ndarray:
    """Ranks of ECG → text where each text stands in the gallery as often as records carry it."""
    return first_hit_ranks(ecg, text[report], report, report).numpy() + 1


def figures(directions: Sequence[Direction]) -> dict[str, float]:
    """Metrics of a result: ``ecg_to_text_r10``, ``…_r10_chance``, ``…_median_rank``, and ``distinct_…`` beside them."""
    found: dict[str, float] = {}
    for direction in directions:
        prefix = direction.name if direction.gallery == "pairs" else f"{direction.gallery}_{direction.name}"
        for k in DEPTHS:
            found[f"{prefix}_r{k}"] = direction.recall(k)
            found[f"{prefix}_r{k}_chance"] = direction.chance_recall(k)
        found[f"{prefix}_median_rank"] = direction.median_rank
        found[f"{prefix}_median_rank_chance"] = direction.chance_median_rank
    return found


def recall_intervals(
    directions: Sequence[Direction], subject_id: Sequence[str], n: int, seed: int
) -> dict[str, tuple[float, float]]:
    """95 % intervals of R@k over all pairs, subjects resampled as queries while the gallery stays as it is."""
    group = subject_groups(len(subject_id), subject_id)
    n_groups = int(group.max()) + 1
    size = np.bincount(group, minlength=n_groups)
    hits = {
        f"{direction.name}_r{k}": np.bincount(group, direction.ranks <= k, minlength=n_groups)
        for direction in directions
        if direction.gallery == "pairs"
        for k in DEPTHS
    }
    rng = np.random.default_rng(seed)
    samples: dict[str, list[np.ndarray]] = {name: [] for name in hits}
    for start in range(0, n, 100):
        counts = draw_counts(n_groups, min(100, n - start), rng)
        for name, hit in hits.items():
            samples[name].append(counts @ hit / (counts @ size))
    intervals = {name: percentile_interval(np.concatenate(values)) for name, values in samples.items()}
    return {name: interval for name, interval in intervals.items() if interval is not None}
