"""A number read from texts that name numbers: the rank-wise vote of the texts nearest to a recording.

As EchoCLIP estimates an ejection fraction (Christensen et al. 2024, Nature Medicine, methods): for every vector of a recording
(the frames of an echocardiogram, or one embedding of an ECG) all texts are ranked by similarity, the values they name are
averaged over the vectors rank by rank, and the median of the first fifth of the ranks is the estimate.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

SHARE = 0.2
"""Part of the ranks that vote."""
LEVEL = 0.95
"""Probability that a predictive interval is meant to hold."""


class Estimate(NamedTuple):
    """N estimates.

    Attributes:
        value: float64 ``[N]``.
        low, high: float64 ``[N]``, ends of the predictive interval; None where nothing was sampled.
    """

    value: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def voting_ranks(n_texts: int, share: float = SHARE) -> int:
    """K = ⌊share · C⌋ ranks that vote, at least one."""
    return max(1, math.floor(share * n_texts))


def ranked_values(similarity: np.ndarray, values: np.ndarray, n_ranks: int) -> np.ndarray:
    """Values of the ``n_ranks`` most similar texts, in that order; of equally similar ones the first in the list goes first.

    Args:
        similarity: ``[.., C]``.
        values: ``[C]``, what each text says.
        n_ranks: K.

    Returns:
        float64 ``[.., K]``.

    Raises:
        ValueError: another number of values than of texts, or a value or similarity that is not finite.
    """
    similarity, values = np.asarray(similarity), np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or similarity.shape[-1:] != values.shape or not len(values):
        raise ValueError(f"values {values.shape} for similarities {similarity.shape}")
    if not np.isfinite(values).all() or not np.isfinite(similarity).all():
        raise ValueError("values or similarities hold NaN or infinity")
    return values[np.argsort(-similarity, axis=-1, kind="stable")[..., :n_ranks]]


def prompt_regression(similarity: np.ndarray, values: np.ndarray, share: float = SHARE) -> np.ndarray:
    """The estimate of each recording.

    Args:
        similarity: ``[.., F, C]`` of its F vectors with C texts; only the order of the texts matters.
        values: ``[C]``, what each text says.
        share: part of the ranks that vote.

    Returns:
        float64 ``[..]``: the median of the first K = ⌊share · C⌋ means over F, the lower middle one of an even K.

    Raises:
        ValueError: as :func:`ranked_values`.
    """
    means = ranked_values(similarity, values, voting_ranks(np.shape(similarity)[-1], share)).mean(axis=-2)
    return lower_median(means)


def sampled_regression(similarity: np.ndarray, values: np.ndarray, share: float = SHARE, level: float = LEVEL) -> Estimate:
    """The estimates of each recording's samples, and the interval that holds the middle ``level`` of them.

    Args:
        similarity: ``[N, S, C]`` of S samples of each recording's Gaussian with C texts.
        values, share: as :func:`prompt_regression`.
        level: of the interval.

    Returns:
        ``value`` with the samples as the vectors of the recording; ``low`` and ``high`` from one estimate a sample.

    Raises:
        ValueError: as :func:`ranked_values`.
    """
    ranked = ranked_values(similarity, values, voting_ranks(np.shape(similarity)[-1], share))
    low, high = np.quantile(lower_median(ranked), [(1 - level) / 2, (1 + level) / 2], axis=-1)
    return Estimate(lower_median(ranked.mean(axis=-2)), low, high)


def lower_median(values: np.ndarray) -> np.ndarray:
    """Median over the last axis; of an even number the lower of the two middle ones."""
    return np.sort(values, axis=-1)[..., (values.shape[-1] - 1) // 2]
