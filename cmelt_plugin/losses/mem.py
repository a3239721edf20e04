"""Masked ECG modelling (paper §3.1, equation 2)."""

from __future__ import annotations

from torch import Tensor


def mem_loss(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Squared error averaged within a token and summed over the masked tokens.

    Args:
        prediction, target: ``[B, N, values]``, values = samples per token × leads.
        mask: ``[B, N]`` bool, True = counted.
    """
    error = (prediction.float() - target.float()).square().mean(dim=-1)
    return (error * mask).sum()
