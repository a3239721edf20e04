"""Masked language modelling (paper §3.1, equation 1)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

IGNORED = -100  # target of a position that does not count


def mlm_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy in nats, summed over masked positions.

    Args:
        logits: ``[M, V]`` at the M masked positions of the batch.
        target: ``[M]`` int64, the words that stood there, or :data:`IGNORED`.
    """
    return F.cross_entropy(logits.float(), target, ignore_index=IGNORED, reduction="sum")
