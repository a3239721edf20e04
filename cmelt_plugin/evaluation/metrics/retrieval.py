"""Retrieval between N records and their reports or other companions, both ways: ranks, recall, and what chance would give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import gammaln
from torch import Tensor

from cmelt_plugin.evaluation.metrics.bootstrap import percentile_interval, resampled_sums, subject_groups
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference.scoring import similarity_rows

DEPTHS = (1, 5, 10)


def first_hit_ranks(
    model: Any,
    query: Embedding,
    gallery: Embedding,
    query_report: Tensor,
    gallery_report: Tensor,
    device: str | torch.device | None = None,
) -> Tensor:
    """Rank (0 = best) at which each query meets the first gallery item with its own report.

    Args:
        model: its similarity scores N queries against M items.
        query, gallery: N and M embeddings.
        query_report, gallery_report: int64 ``[N]`` and ``[M]``; identical texts share a number and count as correct.
        device: where scores are made; None: where the queries are.

    Returns:
        int64 ``[N]``, where the queries are: how many gallery items score at least as high as the best correct one
        without being correct, so that an encoder which maps everything to one point gets the worst rank, not the best.
    """
    ranks, start, home = [], 0, query.mean.device
    for scores in similarity_rows(model, query, gallery, device):
        correct = query_report[start : start + len(scores), None].to(scores.device) == gallery_report.to(scores.device)
        best = scores.masked_fill(~correct, -torch.inf).amax(dim=1, keepdim=True)
        ranks.append(((scores >= best) & ~correct).sum(dim=1).to(home))
        start += len(scores)
    return torch.cat(ranks)


def pair_recalls(
    model: Any, ecg: Embedding, text: Embedding, report: Tensor, depths: Sequence[int] = DEPTHS, other: str = "text"
) -> dict[str, float]:
    """R@k in both directions for N aligned pairs: ``ecg_to_text_r10`` and so on.

    Args:
        model: as :func:`first_hit_ranks`.
        ecg, text: N embeddings each; row i of both is a pair.
        report: int64 ``[N]``, equal for identical texts.
        depths: the k.
        other: what the ECGs are paired with, in names.
    """
    recalls = {}
    for name, query, gallery in ((f"ecg_to_{other}", ecg, text), (f"{other}_to_ecg", text, ecg)):
        ranks = first_hit_ranks(model, query, gallery, report, report)
        recalls.update({f"{name}_r{k}": (ranks < k).float().mean().item() for k in depths})
    return recalls


def chance_recall(gallery_size: int, right: np.ndarray, k: int) -> float:
    """R@k of a random order: mean over queries of 1 − C(n − m, k) / C(n, k).

    Args:
        gallery_size: n, items in the gallery.
        right: int ``[Q]``, m, right items in the gallery per query.
        k: depth.
    """
    n, m = gallery_size, right
    if k >= n:
        return 1.0
    possible = n - m >= k
    rest = np.where(possible, n - m, k)
    missed = np.exp(gammaln(rest + 1) - gammaln(rest - k + 1) - gammaln(n + 1) + gammaln(n - k + 1))
    return float(np.mean(np.where(possible, 1 - missed, 1.0)))


def random_ranks(copies: np.ndarray, items: int = 5_000_000) -> np.ndarray:
    """Ranks from 1 of the right text in random orders of a gallery in which the copies of a text stand together.

    An encoder gives equal texts equal scores. To a record whose own text is rare, every wrong text of many copies before it
    costs as many places, so that chance is less than in a random order of the items.

    Args:
        copies: int ``[U]``, times that each text occurs in the gallery; N in all, and a query for each of these.
        items: numbers drawn; the orders are so many that they take about as many, at least 20, of a fixed seed.

    Returns:
        int64 ``[orders, N]``.
    """
    rng, orders = np.random.default_rng(0), max(20, min(2000, items // int(copies.sum())))
    ranks = np.empty((orders, len(copies)), dtype=np.int64)
    for row in ranks:
        order = rng.permutation(len(copies))
        row[order] = np.cumsum(copies[order]) - copies[order] + 1
    return np.repeat(ranks, copies, axis=1)


class Direction(NamedTuple):
    """One direction.

    Attributes:
        gallery: ``pairs``, every record with its companion, or ``distinct``, every companion once.
        name: ``ecg_to_text``, ``text_to_ecg`` and so on.
        ranks: int64 ``[Q]``, rank of each query's first right item, from 1.
        right: int64 ``[Q]``, right items in the gallery per query.
        gallery_size: items in the gallery.
        copies: int64 ``[U]``, where the gallery holds each of U texts so many times; None: no item is another's copy.
    """

    gallery: str
    name: str
    ranks: np.ndarray
    right: np.ndarray
    gallery_size: int
    copies: np.ndarray | None = None

    def recall(self, k: int) -> float:
        """R@k: share of queries with a right item among the first k."""
        return float(np.mean(self.ranks <= k))

    @property
    def median_rank(self) -> float:
        return float(np.median(self.ranks))

    def chance_recall(self, k: int) -> float:
        """R@k of a random order; of copies that stand together, of many of them (:func:`random_ranks`)."""
        if self.copies is not None:
            return float(np.mean(random_ranks(self.copies) <= k))
        return chance_recall(self.gallery_size, self.right, k)

    @property
    def chance_median_rank(self) -> float:
        """The first rank by which a random order has met a right item for half of the queries."""
        if self.copies is not None:
            return float(np.quantile(random_ranks(self.copies), 0.5, method="lower"))
        low, high = 1, self.gallery_size
        while low < high:
            middle = (low + high) // 2
            # A breath of tolerance: chances that are exactly one half must not be missed by rounding.
            low, high = (low, middle) if self.chance_recall(middle) >= 0.5 - 1e-9 else (middle + 1, high)
        return float(low)


def retrieval_directions(
    model: Any,
    ecg: Embedding,
    text: Embedding,
    report: Tensor,
    device: str | torch.device | None = None,
    names: tuple[str, str] = ("ecg", "text"),
) -> list[Direction]:
    """Both directions over all pairs, then both among distinct reports.

    Args:
        model: as :func:`first_hit_ranks`.
        ecg: embeddings of N records.
        text: embeddings of the U distinct reports, or other companions of which each record has one.
        report: int64 ``[N]``, each record's row of ``text``; every row occurs.
        device: where scores are made; None: where the embeddings are.
        names: of the two sides.
    """
    there, back = f"{names[0]}_to_{names[1]}", f"{names[1]}_to_{names[0]}"
    n, u = ecg.rows, text.rows
    distinct = torch.arange(u)
    copies = torch.bincount(report, minlength=u).numpy()
    of_record = copies[report.numpy()]
    # All texts against all ECGs: every text as often as it occurs, so its rank is found once and repeated.
    text_ranks = first_hit_ranks(model, text, ecg, distinct, report, device).numpy() + 1
    pair_ranks = first_hit_ranks(model, ecg, text.select(report), report, report, device).numpy() + 1
    distinct_ranks = first_hit_ranks(model, ecg, text, report, distinct, device).numpy() + 1
    return [
        Direction("pairs", there, pair_ranks, of_record, n, copies),
        Direction("pairs", back, text_ranks[report.numpy()], of_record, n),
        Direction("distinct", there, distinct_ranks, np.ones(n, np.int64), u),
        Direction("distinct", back, text_ranks, copies, n),
    ]


def retrieval_metrics(directions: Sequence[Direction]) -> dict[str, float]:
    """Metrics of a result: ``ecg_to_text_r10``, ``…_r10_chance``, ``…_median_rank``, and the same under ``distinct_…``."""
    metrics: dict[str, float] = {}
    for direction in directions:
        prefix = direction.name if direction.gallery == "pairs" else f"{direction.gallery}_{direction.name}"
        for k in DEPTHS:
            metrics[f"{prefix}_r{k}"] = direction.recall(k)
            metrics[f"{prefix}_r{k}_chance"] = direction.chance_recall(k)
        metrics[f"{prefix}_median_rank"] = direction.median_rank
        metrics[f"{prefix}_median_rank_chance"] = direction.chance_median_rank
    return metrics


def recall_intervals(
    directions: Sequence[Direction], subject_id: Sequence[str], n: int, seed: int
) -> dict[str, tuple[float, float]]:
    """95 % intervals of R@k over all pairs, subjects resampled as queries while the gallery stays as it is."""
    hits = {
        f"{direction.name}_r{k}": direction.ranks <= k
        for direction in directions
        if direction.gallery == "pairs"
        for k in DEPTHS
    }
    columns = np.stack([*hits.values(), np.ones(len(subject_id))], axis=1)
    sums = resampled_sums(columns, subject_groups(len(subject_id), subject_id), n, seed)
    intervals = {name: percentile_interval(sums[:, index] / sums[:, -1]) for index, name in enumerate(hits)}
    return {name: interval for name, interval in intervals.items() if interval is not None}
