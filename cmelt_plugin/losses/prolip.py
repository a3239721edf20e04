"""ProLIP (Chun et al., ICLR 2025, arXiv 2410.18857): what it adds to the match loss of Gaussians, the inclusion loss.

Its pairwise loss is that of :mod:`cmelt_plugin.losses.pcmepp` in other letters: for means of unit length its logits a (μᵢ ·
μⱼ − ½ Σ (σᵢ² + σⱼ²)) + b are (a + b) − (a / 2) · the closed-form sampled distance. Formulas of the paper; the released code
weighs the log-variances before the square root twice and scales the precisions by exp(−10).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def inclusion(mean_a: Tensor, log_variance_a: Tensor, mean_b: Tensor, log_variance_b: Tensor) -> Tensor:
    """How far Gaussians a lie inside Gaussians b: ln ∫ p_a(x)² p_b(x) dx in each dimension, but for a constant.

    Args:
        mean_a, log_variance_a, mean_b, log_variance_b: ``[B, D]``.

    Returns:
        ``[B, D]`` float32, or in the arguments' precision where that is wider.
    """
    with torch.autocast(mean_a.device.type, enabled=False):
        values = (mean_a, log_variance_a, mean_b, log_variance_b)
        mean_a, log_variance_a, mean_b, log_variance_b = (
            value.to(torch.promote_types(value.dtype, torch.float32)) for value in values
        )
        precision_a, precision_b = (-log_variance_a).exp(), (-log_variance_b).exp() / 2
        both = precision_a + precision_b
        apart = precision_a * precision_b / both * (mean_a - mean_b).square()
        return -log_variance_a - log_variance_b / 2 - both.log() / 2 - apart


def inclusion_loss(
    mean_a: Tensor, log_variance_a: Tensor, mean_b: Tensor, log_variance_b: Tensor, scale: float = 10.0
) -> Tensor:
    """That a lies in b rather than b in a: softplus of −scale · (a in b − b in a), mean over records and dimensions.

    Arguments as :func:`inclusion`. ``scale``: how sharply.
    """
    return _excess(mean_a, log_variance_a, mean_b, log_variance_b, scale).mean()


def inclusion_losses(
    mean_a: Tensor, log_variance_a: Tensor, mean_b: Tensor, log_variance_b: Tensor, scale: float = 10.0
) -> Tensor:
    """:func:`inclusion_loss` of each record, the mean over dimensions: ``[B]``."""
    return _excess(mean_a, log_variance_a, mean_b, log_variance_b, scale).mean(dim=1)


def _excess(mean_a: Tensor, log_variance_a: Tensor, mean_b: Tensor, log_variance_b: Tensor, scale: float) -> Tensor:
    gap = inclusion(mean_a, log_variance_a, mean_b, log_variance_b)
    gap = gap - inclusion(mean_b, log_variance_b, mean_a, log_variance_a)
    return F.softplus(-scale * gap)
