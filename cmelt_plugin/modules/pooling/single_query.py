"""Attention pooling (Radford et al. 2021, CLIP's ResNet; MERL, Liu et al. 2024): one learned query reads all steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cmelt_plugin.modules.transformer import Attention


class AttentionPool(nn.Module):
    """A class token attends to itself and to every step, steps with learned positions; a linear layer follows.

    The class token has no position of its own: a vector added to a learned vector is a learned vector.

    Args:
        dim: width of the states.
        out_dim: width of the result.
        n_positions: learned positions, the most steps it can read.
        heads: of the attention.
    """

    def __init__(self, dim: int, out_dim: int, n_positions: int, heads: int = 4):
        super().__init__()
        self.class_token = nn.Parameter(torch.randn(dim))
        self.positions = nn.Parameter(torch.randn(n_positions, dim) / dim)
        self.attention = Attention(dim, heads)
        self.out = nn.Linear(dim, out_dim)

    def forward(self, states: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """``states [B, N, D]``, ``padding_mask [B, N]`` (True = padding, never attended to) → ``[B, out_dim]``.

        Raises:
            ValueError: more states than positions.
        """
        return self.out(self._attended(states, padding_mask, None)[:, 0])

    def with_query(self, states: Tensor, padding_mask: Tensor | None, query: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`forward`, and what another ``query [D]`` reads in the same places: ``[B, D]``, no layer behind it."""
        attended = self._attended(states, padding_mask, query)
        return self.out(attended[:, 0]), attended[:, 1]

    def _attended(self, states: Tensor, padding_mask: Tensor | None, query: Tensor | None) -> Tensor:
        if states.shape[1] > len(self.positions):
            raise ValueError(f"{states.shape[1]} steps, but there are positions for {len(self.positions)}")
        token = self.class_token.to(states.dtype).expand(states.shape[0], 1, -1)
        context = torch.cat([token, states + self.positions[: states.shape[1]].to(states.dtype)], dim=1)
        if padding_mask is not None:
            padding_mask = torch.cat([padding_mask.new_zeros(states.shape[0], 1), padding_mask], dim=1)
        if query is not None:
            token = torch.cat([token, query.to(states.dtype).expand_as(token)], dim=1)
        return self.attention(token, context, padding_mask)
