"""From a sequence of token states to one vector."""

from __future__ import annotations

from torch import Tensor, nn


def masked_mean(states: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Mean over real tokens: ``states [B, L, D]``, ``padding_mask [B, L]`` (True = padding) → ``[B, D]``."""
    if padding_mask is None:
        return states.mean(dim=1)
    keep = (~padding_mask).unsqueeze(-1).to(states.dtype)
    return (states * keep).sum(dim=1) / keep.sum(dim=1).clamp(min=1)


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
