"""From states to a Gaussian: its mean and its log-variances, by heads of one form with weights of their own."""

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
        """``states [B, N, W]``, ``padding_mask [B, N]`` True = padding."""
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
            begin_with(self.linear, total)


class StateLogVariance(nn.Module):
    """The log-variances of a Gaussian from a single state, that of an uncertainty token or a vector that sums up a sequence.

    Args:
        width: W.
        dim: D.
        total: sum of the variances at the start.
    """

    def __init__(self, width: int, dim: int, total: float):
        super().__init__()
        self.linear = nn.Linear(width, dim)
        begin_with(self.linear, total)

    def forward(self, state: Tensor) -> Tensor:
        """``[B, W]`` → ``[B, D]`` float32."""
        return self.linear(state.to(self.linear.weight.dtype)).float()


def begin_with(linear: nn.Linear, total: float) -> None:
    """Let a layer give about the same log-variance everywhere, those of variances whose sum is ``total``."""
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.constant_(linear.bias, math.log(total / linear.out_features))
