"""Rows of all ranks in one tensor, with gradients that reach the rank each row came from."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _AllGatherRows(torch.autograd.Function):
    """Concatenation over ranks; backward sums every rank's gradient for our rows.

    Every rank computes a *part* of one loss. Summing the gradients of all parts gives the gradient of that loss,
    which is what one process with the whole batch would have computed.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int], group: Any) -> Tensor:
        ctx.sizes, ctx.group = sizes, group
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded, group=group)
        return torch.cat([part[:size] for part, size in zip(parts, sizes)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradient.clone(memory_format=torch.contiguous_format)  # autograd may need the original elsewhere
        dist.all_reduce(gradient, group=ctx.group)
        rank = dist.get_rank(ctx.group)
        start = sum(ctx.sizes[:rank])
        return gradient[start : start + ctx.sizes[rank]], None, None


def row_counts(n_rows: int, device: torch.device, group: Any) -> list[int]:
    """How many rows each rank of ``group`` holds."""
    counts = torch.zeros(dist.get_world_size(group), dtype=torch.long, device=device)
    counts[dist.get_rank(group)] = n_rows
    dist.all_reduce(counts, group=group)
    return counts.tolist()


def gather_rows(rows: Tensor, counts: list[int], group: Any) -> Tensor:
    """``rows [B_r, …]`` of every rank → ``[Σ B_r, …]`` in rank order, differentiable."""
    return _AllGatherRows.apply(rows, counts, group)  # type: ignore[no-untyped-call]


def filled_up(rows: Tensor, n_rows: int) -> Tensor:
    """``rows [B, …]`` and zeros → ``[n_rows, …]``, differentiable.

    Raises:
        ValueError: there are more rows.
    """
    if len(rows) > n_rows:
        raise ValueError(f"a batch of {len(rows)} rows, but none may have more than {n_rows}")
    return torch.cat([rows, rows.new_zeros((n_rows - len(rows), *rows.shape[1:]))])


def sum_over_ranks(values: Tensor, group: Any | None) -> Tensor:
    """Element-wise sum over ranks without gradient; ``values`` itself in a single process."""
    if group is None:
        return values
    total = values.detach().clone()
    dist.all_reduce(total, group=group)
    return total
