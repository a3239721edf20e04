"""From the states of a sequence to a Gaussian: two heads of one form, with weights of their own."""

from __future__ import annotations

import math

from torch import Tensor, nn

from cmelt_plugin.modules.contrast import unit
from cmelt_plugin.modules.pooling.generalised import GeneralisedPooling


class PooledLinear(nn.Module):
    """A linear layer for each state, then generalised pooling: ``[B, N, W]`` → ``[B, D]`` float32.

    Args:
        width: W.
        dim: D.
    """

    def __init__(self, width: int, dim: int):
        super().__init__()
        self.linear = nn.Linear(width, dim)
        self.pool = GeneralisedPooling()

    def projected(self, states: Tensor) -> Tensor:
        """``states [B, N, W]`` → ``[B, N, D]``, before pooling."""
        return self.linear(states.to(self.linear.weight.dtype))

    def forward(self, states: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """``states [B, N, W]``, ``padding_mask [B, N]`` True = padding, at the end."""
        return self.pool(self.projected(states), padding_mask)


class MeanHead(PooledLinear):
    """The mean of a Gaussian, of unit length."""

    def forward(self, states: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        return unit(super().forward(states, padding_mask))


class LogVarianceHead(PooledLinear):
    """The log-variances of a Gaussian, as they come.

    Args:
        width, dim: as :class:`PooledLinear`.
        total: sum of the variances at the start; None: the framework's initialisation, where it is about ``dim``.
    """

    def __init__(self, width: int, dim: int, total: float | None):
        super().__init__(width, dim)
        if total is not None:
            nn.init.normal_(self.linear.weight, std=0.01)
            nn.init.constant_(self.linear.bias, math.log(total / dim))
