"""Attentional pooling with several learned queries (CoCa, Yu et al. 2022): MELP's beats and caption tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cmelt_plugin.modules.transformer import Attention


class AttentionalPooler(nn.Module):
    """Learned queries → one attention over the normalised states → LayerNorm.

    Args:
        n_queries: Q, vectors a sequence becomes.
        dim: D, width of the queries and of the result.
        context_dim: C, width of the states.
        heads: of the attention.
    """

    def __init__(self, n_queries: int, dim: int, context_dim: int, heads: int = 8):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(n_queries, dim))
        self.query_norm = nn.LayerNorm(dim)
        self.context_norm = nn.LayerNorm(context_dim)
        self.attention = Attention(dim, heads, context_dim=context_dim)
        self.out_norm = nn.LayerNorm(dim)

    def forward(self, states: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """``states [B, N, C]``, ``padding_mask [B, N]`` (True = padding, never attended to) → ``[B, Q, D]``."""
        return self._read(self._queries(), states, padding_mask)

    def with_query(self, states: Tensor, padding_mask: Tensor | None, query: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`forward`, and what another ``query [D]`` reads in the same places: ``[B, D]``."""
        queries = torch.cat([self._queries(), self.query_norm(query.to(self.queries.dtype))[None, None]], dim=1)
        read = self._read(queries, states, padding_mask)
        return read[:, :-1], read[:, -1]

    def weights(self, states: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Shares ``[B, Q, N]`` with which each query attends to the states, mean over heads; float32, they sum to one."""
        return self.attention.weights(self._queries(), self.context_norm(states), padding_mask)

    def _read(self, queries: Tensor, states: Tensor, padding_mask: Tensor | None) -> Tensor:
        return self.out_norm(self.attention(queries, self.context_norm(states), padding_mask))

    def _queries(self) -> Tensor:
        return self.query_norm(self.queries)[None]
