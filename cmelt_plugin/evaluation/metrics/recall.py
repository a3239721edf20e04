"""Cross-modal retrieval over a whole subset."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
import torch
from torch import Tensor

DEPTHS = (1, 5, 10)


def first_hit_ranks(query: Tensor, gallery: Tensor, query_report: Tensor, gallery_report: Tensor) -> Tensor:
    """Rank (0 = best) at which each query meets the first gallery item with its own report.

    Args:
        query: ``[N, D]`` embeddings; gallery: ``[M, D]``. The score is their dot product.
        query_report, gallery_report: report ids; identical texts share one and count as correct.

    Returns:
        int64 ``[N]``: how many gallery items score at least as high as the best correct one without being correct, so
        that an encoder which maps everything to one point gets the worst rank, not the best.
    """
    ranks = []
    for block, report in zip(query.split(1024), query_report.split(1024)):
        scores = block @ gallery.T
        correct = report[:, None] == gallery_report[None, :]
        best = scores.masked_fill(~correct, -torch.inf).amax(dim=1, keepdim=True)
        ranks.append(((scores >= best) & ~correct).sum(dim=1))
    return torch.cat(ranks)


def retrieval_figures(ecg: Tensor, text: Tensor, report: Tensor, depths: Sequence[int] = DEPTHS) -> dict[str, float]:
    """R@k in both directions for N aligned pairs: ``ecg [N, D]``, ``text [N, D]``, ``report [N]`` report ids."""
    figures = {}
    for name, query, gallery in (("ecg_to_text", ecg, text), ("text_to_ecg", text, ecg)):
        ranks = first_hit_ranks(query, gallery, report, report)
        figures.update({f"{name}_r{k}": (ranks < k).float().mean().item() for k in depths})
    return figures


def chance_recall(report: np.ndarray, k: int) -> float:
    """R@k of a random order over N pairs: mean over queries of 1 − C(N − m, k) / C(N, k), m = copies of the report."""
    report = np.asarray(report)
    n = len(report)
    k = min(k, n)
    copies, counts = np.unique(np.unique(report, return_counts=True)[1], return_counts=True)
    missed = sum(int(c) * int(m) * (comb(n - int(m), k) / comb(n, k)) for m, c in zip(copies, counts))
    return 1.0 - missed / n
