"""What a table of negatives is like: is "swapped or not" visible in the text alone, how far are negatives, which are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

RECORDS = 20_000
"""Records (real or drawn) each diagnostic works on at most."""
REPEATS = 3
"""Random halvings the text-only AUC is averaged over."""


def draw_records(counts: np.ndarray, rng: np.random.Generator, limit: int = RECORDS) -> np.ndarray:
    """Report of every record, or of ``limit`` records drawn without replacement: int64 ``[min(sum(counts), limit)]``."""
    total = int(np.sum(counts))
    positions = np.arange(total) if total <= limit else rng.choice(total, limit, replace=False)
    return np.searchsorted(np.cumsum(counts), positions, side="right")


def text_only_auc(embeddings: np.ndarray, counts: np.ndarray, negatives: np.ndarray, seed: int = 1) -> float:
    """AUC with which a logistic regression on the text embedding tells swapped reports from true ones.

    Every record gives its own report (label 0) and one drawn negative (label 1). Fitted on one random half of the records,
    scored on the other, averaged over ``REPEATS`` halvings. 0.5 = the text gives nothing away. In small splits it comes out
    somewhat below 0.5, because a report over-represented in one half is under-represented in the other.

    Args:
        embeddings: float ``[n, d]``.
        counts: int ``[n]``, records per report.
        negatives: int ``[n, k]`` of row indices.
        seed: of the halving and the draws.

    Returns:
        The AUC, or NaN with fewer than 4 records.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng([seed, 2])
    values = []
    for _ in range(REPEATS):
        own = rng.permutation(draw_records(counts, rng))
        half = len(own) // 2
        if half < 2:
            return float("nan")
        swapped = negatives[own, rng.integers(0, negatives.shape[1], len(own))]
        sides = []
        for part in (slice(0, half), slice(half, 2 * half)):
            features = embeddings[np.concatenate([own[part], swapped[part]])]
            sides.append((features, np.repeat([0, 1], half)))
        model = LogisticRegression(max_iter=500).fit(*sides[0])
        values.append(roc_auc_score(sides[1][1], model.decision_function(sides[1][0])))
    return float(np.mean(values))


def marginal_auc(counts: np.ndarray, negatives: np.ndarray) -> float:
    """The best AUC any text-only classifier can reach in the long run, one that knows every report by heart.

    It scores a report by how often it is a negative divided by how often it is a record's own report. Exact, nothing fitted.
    """
    own = np.asarray(counts, dtype=np.float64) / np.sum(counts)
    k = negatives.shape[1]
    swapped = np.bincount(negatives.ravel(), weights=np.repeat(own / k, k), minlength=len(own))
    order = np.argsort(swapped / own, kind="stable")
    own, swapped, ratio = own[order], swapped[order], (swapped / own)[order]
    # Reports of equal score count half against each other, as in any AUC.
    _, group = np.unique(ratio, return_inverse=True)
    own, swapped = np.bincount(group, weights=own), np.bincount(group, weights=swapped)
    return float(np.sum(swapped * (np.cumsum(own) - own / 2)))


def mean_distance(embeddings: np.ndarray, counts: np.ndarray, negatives: np.ndarray, seed: int = 1) -> float:
    """Mean cosine distance between a record's report and its drawn negative."""
    rng = np.random.default_rng([seed, 3])
    own = draw_records(counts, rng)
    swapped = negatives[own, rng.integers(0, negatives.shape[1], len(own))]
    return float(1 - np.einsum("nd,nd->n", embeddings[own], embeddings[swapped]).mean())


def random_negatives(counts: np.ndarray, k: int, seed: int = 1) -> np.ndarray:
    """Negatives drawn blindly from the records, int64 ``[n, k]``: what the other numbers are compared with."""
    rng = np.random.default_rng([seed, 4])
    frequency = np.asarray(counts, dtype=np.float64) / np.sum(counts)
    return rng.choice(len(counts), (len(counts), k), p=frequency)


def diagnose(embeddings: np.ndarray, counts: np.ndarray, negatives: np.ndarray, seed: int = 1) -> dict[str, Any]:
    """All numbers of one table: ``share_used, text_only_auc, marginal_auc, mean_distance`` and those of random negatives."""
    blind = random_negatives(counts, negatives.shape[1], seed)
    return {
        "share_used": float(len(np.unique(negatives)) / len(negatives)),
        "text_only_auc": text_only_auc(embeddings, counts, negatives, seed),
        "marginal_auc": marginal_auc(counts, negatives),
        "mean_distance": mean_distance(embeddings, counts, negatives, seed),
        "random_text_only_auc": text_only_auc(embeddings, counts, blind, seed),
        "random_marginal_auc": marginal_auc(counts, blind),
        "random_mean_distance": mean_distance(embeddings, counts, blind, seed),
    }


def example_pairs(
    texts: Sequence[str], counts: np.ndarray, negatives: np.ndarray, n_reports: int = 3, n_negatives: int = 3
) -> list[dict[str, Any]]:
    """The most frequent reports with some of their negatives, as in the paper's Figure 2."""
    examples = []
    for row in np.argsort(-np.asarray(counts), kind="stable")[:n_reports]:
        distinct = list(dict.fromkeys(negatives[row].tolist()))
        step = max(1, len(distinct) // n_negatives)
        chosen = distinct[::step][:n_negatives]
        examples.append({"report": texts[int(row)], "negatives": [texts[index] for index in chosen]})
    return examples
