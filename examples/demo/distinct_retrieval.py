"""Retrieval among distinct reports.

Where many records share a report, chance among pairs is high: a tenth of all records with the same text make a random
top ten right two times in three, and a model that cannot know which of several phrasings was used looks bad. Here every
distinct text stands in the gallery once.
"""

from __future__ import annotations

from math import comb
from typing import NamedTuple

import torch
from torch import Tensor

from cmelt_plugin.evaluation.metrics.recall import first_hit_ranks


class Recall(NamedTuple):
    """R@k and what a random order would reach."""

    recall: float
    chance: float


def distinct_retrieval(ecg: Tensor, text: Tensor, report: Tensor, k: int = 10) -> dict[str, Recall]:
    """R@k in both directions between N records and U distinct reports.

    Args:
        ecg: ``[N, D]`` embeddings of the records.
        text: ``[U, D]`` embeddings of the distinct reports.
        report: int64 ``[N]``, each record's row of ``text``; every row occurs.
        k: depth.

    Returns:
        ``ecg_to_text``: mean over the N records; the gallery are the U reports, chance is k / U.
        ``text_to_ecg``: mean over the U reports; the gallery are the N records, chance is the mean of
        1 − C(N − m, k) / C(N, k), m = records with that report.
    """
    n, u = len(ecg), len(text)
    each = torch.arange(u)
    hits = first_hit_ranks(ecg, text, report, each) < k
    found = first_hit_ranks(text, ecg, each, report) < k
    depth = min(k, n)
    missed = sum(comb(n - int(copies), depth) / comb(n, depth) for copies in torch.bincount(report, minlength=u))
    return {
        "ecg_to_text": Recall(hits.float().mean().item(), min(k, u) / u),
        "text_to_ecg": Recall(found.float().mean().item(), 1 - missed / u),
    }
