"""Batch normalisation that knows where records end, and that may span the batches of all ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from cmelt_plugin.losses.gather import gather_rows


def real_steps(n_steps: Tensor, length: int) -> Tensor:
    """``n_steps [B]`` real steps a record → bool ``[B, 1, length]``, True = real."""
    return (torch.arange(length, device=n_steps.device) < n_steps[:, None]).unsqueeze(1)


def zero_padding(x: Tensor, n_steps: Tensor | None) -> Tensor:
    """``x [B, C, T]`` with zeros beyond ``n_steps [B]``; itself where that is None."""
    return x if n_steps is None else x.masked_fill(~real_steps(n_steps, x.shape[-1]), 0.0)


class LengthBatchNorm(nn.BatchNorm1d):
    """``nn.BatchNorm1d`` whose statistics in training are those of real steps alone.

    A padded batch of records of one length has the statistics of the records cut to that length. In evaluation the running
    statistics are used, and every step is normalised by itself. Statistics are computed and kept in float32 whatever the
    precision of the weights, for a running mean in float16 or bfloat16 stops moving.

    Attributes:
        group: returns the process group whose ranks share their statistics in training, or None; None: each rank has its own.
            Shared ones, and their gradients, are those of one process with the whole batch.
        updates: False while a forward pass is repeated (:func:`repeated_pass`), which must not count twice.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float
    group: Callable[[], Any] | None = None
    updates = True

    def forward(self, x: Tensor, n_steps: Tensor | None = None) -> Tensor:
        """``x [B, C, T]`` or ``[B, C]``, returned in its own precision; ``n_steps [B]`` real steps (0: the record counts
        nowhere), None: all. What stands beyond them is returned normalised, not zero."""
        group = self.group() if self.training and self.group is not None else None
        if self.training and (n_steps is not None or group is not None):
            return self._over_real_steps(x, n_steps, group)
        wide = torch.promote_types(x.dtype, torch.float32)
        mean, var = self.running_mean, self.running_var
        if not self.updates:
            mean, var = mean.clone(), var.clone()  # something to be changed, as in the pass that is repeated
        if self.training and self.updates:
            self.num_batches_tracked.add_(1)
        weight, bias = self.weight.to(wide), self.bias.to(wide)
        return F.batch_norm(x.to(wide), mean, var, weight, bias, self.training, self.momentum, self.eps).to(x.dtype)

    def _over_real_steps(self, x: Tensor, n_steps: Tensor | None, group: Any) -> Tensor:
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        values = values if x.ndim == 3 else values.unsqueeze(-1)  # [B, C, T]
        batch, channels, length = values.shape
        n_steps = torch.full((batch,), length, device=x.device) if n_steps is None else n_steps.clamp(max=length)
        real = real_steps(n_steps, length)
        count = n_steps.sum().to(values.dtype)
        mean = (values * real).sum((0, 2)) / count.clamp(min=1)
        squares = ((values - mean[:, None]) * real).square().sum((0, 2))
        if group is not None:
            own = torch.cat([count[None], mean, squares])[None]
            ranks = gather_rows(own, [1] * dist.get_world_size(group), group)  # [W, 1 + 2C]
            counts, means, parts = ranks.split([1, channels, channels], dim=1)
            count = counts.sum()
            mean = (counts * means).sum(0) / count.clamp(min=1)
            squares = (parts + counts * (means - mean).square()).sum(0)
        if self.updates:
            with torch.no_grad():
                step = self.momentum * (count > 0)
                self.running_mean += step * (mean.float() - self.running_mean)
                self.running_var += step * (squares.float() / (count - 1).clamp(min=1) - self.running_var)
                self.num_batches_tracked += 1
        scale = (squares / count.clamp(min=1) + self.eps).rsqrt() * self.weight.to(values.dtype)
        out = (values - mean[:, None]) * scale[:, None] + self.bias.to(values.dtype)[:, None]
        return out.view_as(x).to(x.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> LengthBatchNorm:
        """Casts of a whole model leave the running statistics in float32."""
        statistics = {name: self._buffers[name] for name in ("running_mean", "running_var")}
        super()._apply(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        for name, before in statistics.items():
            after = self._buffers[name]
            if after is not None and before is not None and after.dtype != torch.float32 and before.dtype == torch.float32:
                self._buffers[name] = after.float() if before.is_meta else before.to(after.device)
        return self


def share_statistics(module: nn.Module, group: Callable[[], Any]) -> None:
    """Let every :class:`LengthBatchNorm` of ``module`` have the statistics of all ranks of the process group that ``group``
    returns, so that several processes train as one with the whole batch would."""
    for norm in module.modules():
        if isinstance(norm, LengthBatchNorm):
            norm.group = group


@contextmanager
def repeated_pass(module: nn.Module) -> Iterator[None]:
    """Inside, forward passes of ``module`` leave running statistics as they are."""
    norms = [norm for norm in module.modules() if isinstance(norm, LengthBatchNorm)]
    for norm in norms:
        norm.updates = False
    try:
        yield
    finally:
        for norm in norms:
            norm.updates = True
