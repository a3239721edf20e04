"""PCME++: the match loss between Gaussians (Chun, ICLR 2024, arXiv 2305.18171), with the distances it may rest on.

Gaussians have diagonal covariances and are given by mean and *log-variance*. Everything is computed in float32, or in the
arguments' precision where that is wider, also under autocast: exponentials and differences of unit vectors need it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LARGEST_VIB = 1e4
"""Beyond it the regulariser of one side is left out of a step."""


def wide(*tensors: Tensor) -> list[Tensor]:
    """The tensors in float32, or wider where they are."""
    return [tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors]


def _squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """``a [A, D]``, ``b [B, D]`` → ‖aᵢ − bⱼ‖² ``[A, B]``."""
    return torch.addmm(a.square().sum(1, keepdim=True) + b.square().sum(1), a, b.T, alpha=-2.0)


def sampled_distance(mean_a: Tensor, log_variance_a: Tensor, mean_b: Tensor, log_variance_b: Tensor) -> Tensor:
    """The closed-form sampled distance E‖Zᵢ − Zⱼ‖² of independent Gaussians, ``[A, B]`` (equation 2).

    That is ‖μᵢ − μⱼ‖² + Σ σᵢ² + Σ σⱼ².

    Args:
        mean_a, log_variance_a: ``[A, D]``.
        mean_b, log_variance_b: ``[B, D]``.
    """
    with torch.autocast(mean_a.device.type, enabled=False):
        mean_a, log_variance_a, mean_b, log_variance_b = wide(mean_a, log_variance_a, mean_b, log_variance_b)
        own = mean_a.square().sum(1) + log_variance_a.exp().sum(1)
        other = mean_b.square().sum(1) + log_variance_b.exp().sum(1)
        return torch.addmm(own[:, None] + other, mean_a, mean_b.T, alpha=-2.0)


def wasserstein_distance(mean_a: Tensor, log_variance_a: Tensor, mean_b: Tensor, log_variance_b: Tensor) -> Tensor:
    """The squared 2-Wasserstein distance ‖μᵢ − μⱼ‖² + ‖σᵢ − σⱼ‖², ``[A, B]``; arguments as :func:`sampled_distance`."""
    with torch.autocast(mean_a.device.type, enabled=False):
        mean_a, log_variance_a, mean_b, log_variance_b = wide(mean_a, log_variance_a, mean_b, log_variance_b)
        deviations = (log_variance_a / 2).exp(), (log_variance_b / 2).exp()
        return _squared_distance(mean_a, mean_b) + _squared_distance(*deviations)


DISTANCES = {"sampled": sampled_distance, "wasserstein": wasserstein_distance}


def match_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of each pair, ``[A, B]``: softplus(l) − M · l (equation 4); the paper's loss is its mean.

    Args:
        logits: ``[A, B]``, b − a · distance.
        targets: ``[A, B]``, M in 0..1.
    """
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")


def pseudo_positive_targets(logits: Tensor, targets: Tensor, counted: Tensor | None = None) -> Tensor:
    """Targets with pseudo-positives, ``[A, B]`` without gradient (equation 5).

    In each row every pair with a logit at least that of the row's positive, the first one with the largest target, gets the
    positive's target. A row without a positive keeps its targets.

    Args:
        logits, targets: ``[A, B]`` as :func:`match_loss`.
        counted: ``[A, B]`` bool, False = a pair that is no pseudo-positive; None: all may be.
    """
    logits, targets = logits.detach(), targets.to(logits.dtype)
    best, first = targets.max(dim=1, keepdim=True)
    pseudo = (logits >= logits.gather(1, first)) & (best > 0)
    if counted is not None:
        pseudo = pseudo & counted
    return torch.where(pseudo, best, targets)


def vib(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of each Gaussian from the standard one, mean over dimensions: ``[B, D]`` → ``[B]`` (equation 7).

    The paper's regulariser is its mean over the batch.
    """
    with torch.autocast(mean.device.type, enabled=False):
        mean, log_variance = wide(mean, log_variance)
        return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).mean(dim=1)
