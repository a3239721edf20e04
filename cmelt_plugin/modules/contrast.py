"""What contrastive losses read: vectors of unit length, and a learned inverse temperature that stays within bounds."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

LARGEST_LOGIT_SCALE = 100.0  # Radford et al. 2021, §2.5


def unit(x: Tensor) -> Tensor:
    """``[B, E]`` in float32, of norm 1."""
    return F.normalize(x.float(), dim=-1)


def inverse_temperature(log_scale: Tensor) -> Tensor:
    """exp of a learned scalar in float32, at most :data:`LARGEST_LOGIT_SCALE`."""
    return bounded(log_scale.float(), math.log(LARGEST_LOGIT_SCALE)).exp()


def bounded(x: Tensor, largest: float) -> Tensor:
    """``min(x, largest)``; from the bound on gradients pass that lead back below it, and no others.

    A plain minimum gives none there, so that a parameter which has once gone beyond it would stay.
    """
    y = x - (x - largest).clamp(min=0).detach()
    if y.requires_grad:
        outside = x.detach() >= largest
        y.register_hook(lambda gradient: gradient.masked_fill(outside & (gradient < 0), 0.0))
    return y
