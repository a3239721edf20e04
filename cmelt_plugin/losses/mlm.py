"""Masked language modelling (paper §3.1, equation 1)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def mlm_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy in nats, summed over masked positions.

    Args:
        logits: ``[M, V]`` at the M masked positions of the batch.
        target: ``[M]`` int64, the words that stood there.
    """
    return F.cross_entropy(logits.float(), target, reduction="sum")
