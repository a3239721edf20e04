"""From a sequence of token states to one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def masked_mean(states: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Mean over real tokens: ``states [B, L, D]``, ``padding_mask [B, L]`` (True = padding) → ``[B, D]``.

    Sums and counts are float32: bfloat16 counts to 256, and float16 ends at 65,504.
    """
    if padding_mask is None:
        return states.mean(dim=1)
    keep = ~padding_mask
    total = (states * keep.unsqueeze(-1)).sum(dim=1, dtype=torch.promote_types(states.dtype, torch.float32))
    return (total / keep.sum(dim=1, keepdim=True).clamp(min=1)).to(states.dtype)


ECG_POOLS = ("cls", "mean")


def pool_ecg_states(states: Tensor, padding_mask: Tensor | None, pool: str) -> Tensor:
    """One vector per record from the ECG encoder's states, the features of probes and classifiers.

    Args:
        states: ``[B, 1 + N, D]``, CLS first.
        padding_mask: ``[B, 1 + N]`` bool, True = padding; None: no record is padded.
        pool: ``cls`` (the first state) or ``mean`` (over real tokens, without the CLS token).

    Raises:
        ValueError: another ``pool``.
    """
    if pool == "cls":
        return states[:, 0]
    if pool == "mean":
        return masked_mean(states[:, 1:], None if padding_mask is None else padding_mask[:, 1:])
    raise ValueError(f"pool must be one of {', '.join(ECG_POOLS)}, not {pool!r}")


class Pooler(nn.Module):
    """Pool → dense → tanh (the projection head of paper §3.2, and the pooler in front of the ETM head).

    Args:
        dim: width of the states.
        out_dim: width of the vector.
        pool: ``first`` (the encoder puts a CLS token in front) or ``mean`` (over real tokens; T5 has no CLS token).
    """

    def __init__(self, dim: int, out_dim: int, pool: str):
        super().__init__()
        if pool not in ("first", "mean"):
            raise ValueError(f"pool must be 'first' or 'mean', not {pool!r}")
        self.pool = pool
        self.dense = nn.Linear(dim, out_dim)

    def forward(self, states: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """``[B, L, D]`` → ``[B, out_dim]``."""
        pooled = states[:, 0] if self.pool == "first" else masked_mean(states, padding_mask)
        return self.dense(pooled).tanh()
