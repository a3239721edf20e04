"""Values of recordings from texts that name values: of the mean of each embedding, and of samples of its Gaussian."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from cmelt_plugin.evaluation.metrics.prompt_regression import LEVEL, SHARE, prompt_regression, sampled_regression
from cmelt_plugin.evaluation.regress.candidates import Candidates
from cmelt_plugin.evaluation.regress.options import SAMPLES
from cmelt_plugin.models.base import Embedding

_CELLS = 1 << 22  # similarities held at once


class Estimates(NamedTuple):
    """Values of N recordings.

    Attributes:
        value: float64 ``[N]``, of the embedding's mean.
        sampled: float64 ``[N]``, of all samples together, as frames of one video vote; None for points.
        low, high: float64 ``[N]``, the middle 95 % of the samples' own values; None for points.
        uncertainty: float64 ``[N]``, sum of the variances; None for points.
    """

    value: np.ndarray
    sampled: np.ndarray | None = None
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    uncertainty: np.ndarray | None = None


@torch.no_grad()
def estimate_values(
    model: Any,
    ecg: Embedding,
    candidates: Candidates,
    samples: int = SAMPLES,
    seed: int = 0,
    device: str | torch.device | None = None,
    share: float = SHARE,
    level: float = LEVEL,
) -> Estimates:
    """Estimate a value for each of N recordings (:mod:`cmelt_plugin.evaluation.metrics.prompt_regression`).

    Args:
        model: whose embeddings they are.
        ecg: N embeddings on the CPU.
        candidates: texts that name values.
        samples: drawn from each Gaussian; 0: none.
        seed: of the samples; every recording gets the same standard normal numbers, so that its values depend neither on the
            other recordings nor on their order.
        device: where the model compares.
        share: part of the ranks that vote.
        level: of the interval.
    """
    scores = np.concatenate([*candidates.similarities(model, ecg, device)])
    value = prompt_regression(scores[:, None], candidates.values, share)
    if ecg.log_variance is None:
        return Estimates(value)
    uncertainty = ecg.uncertainty().double().numpy()
    if not samples:
        return Estimates(value, uncertainty=uncertainty)
    noise = torch.randn(samples, ecg.mean.shape[1], generator=torch.Generator().manual_seed(seed))
    step = max(1, _CELLS // (samples * max(len(candidates.values), ecg.mean.shape[1])))
    parts = []
    for start in range(0, ecg.rows, step):
        part = ecg.select(slice(start, start + step))
        drawn = np.concatenate([*candidates.similarities(model, drawn_samples(part, noise), device)])
        parts.append(sampled_regression(drawn.reshape(part.rows, samples, -1), candidates.values, share, level))
    sampled, low, high = (np.concatenate(column) for column in zip(*parts))
    return Estimates(value, sampled, low, high, uncertainty)


def drawn_samples(gaussians: Embedding, noise: torch.Tensor) -> Embedding:
    """``mean + σ · noise`` of each Gaussian, one recording's S samples after the other's.

    Args:
        gaussians: N of them.
        noise: ``[S, D]``, standard normal.

    Returns:
        N · S embeddings, each with the variances of its Gaussian: these move all its similarities alike.
    """
    assert gaussians.log_variance is not None
    deviation = (gaussians.log_variance / 2).exp()
    means = gaussians.mean[:, None] + deviation[:, None] * noise
    return Embedding(means.flatten(0, 1), gaussians.log_variance.repeat_interleave(len(noise), dim=0))
