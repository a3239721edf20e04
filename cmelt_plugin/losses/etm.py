"""ECG–text matching (paper §3.1, equation 3)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def etm_loss(logits: Tensor, aligned: Tensor) -> Tensor:
    """Binary cross-entropy in nats, summed over pairs; ``logits [B]``, ``aligned [B]`` bool."""
    return F.binary_cross_entropy_with_logits(logits.float(), aligned.float(), reduction="sum")
