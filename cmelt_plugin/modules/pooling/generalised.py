"""Generalised pooling: a learned weight for each rank of the sorted values (GPO; Chen et al. 2021, arXiv 2011.04305)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

TEMPERATURE = 0.1
SINK = -1e4  # where sorting puts padding


def rank_encodings(n_ranks: int, dim: int) -> Tensor:
    """Sinusoids of the ranks 0, 1, …: ``[n_ranks, dim]`` (Vaswani et al. 2017, §3.5)."""
    rate = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    angle = torch.arange(n_ranks)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)


class GeneralisedPooling(nn.Module):
    """Each channel is sorted by itself, and pooled with weights that depend on the rank and the number of states alone.

    The weights come from a bidirectional GRU over encodings of the ranks, so that the order of the states does not matter.
    They are computed once for every length there is, and in evaluation kept. They are float32 whatever the precision of the
    parameters: their softmax multiplies rounding errors by 10.

    Args:
        dim: width of the encodings and of the GRU (release: 32).
    """

    def __init__(self, dim: int = 32):
        super().__init__()
        self.dim = dim
        self.ahead = nn.GRU(dim, dim, batch_first=True)
        self.back = nn.GRU(dim, dim, batch_first=True)
        self.score = nn.Linear(dim, 1, bias=False)
        self._kept: tuple[Any, Tensor] | None = None

    def weights(self, lengths: Tensor | int, n_ranks: int) -> Tensor:
        """Weights of the ranks, which sum to one: ``[L, n_ranks]`` float32, zero beyond each of the L ``lengths``.

        Args:
            lengths: int64 ``[L]``, or one number, at most ``n_ranks`` each; none counts as 1.
            n_ranks: of the result.
        """
        if isinstance(lengths, int):
            lengths = torch.tensor([lengths], device=self.score.weight.device)
        lengths = lengths.clamp(min=1)
        if not torch.is_grad_enabled():
            return self._table(n_ranks)[lengths - 1, :n_ranks]
        if len(lengths) > n_ranks:
            return self._computed(torch.arange(1, n_ranks + 1, device=lengths.device), n_ranks)[lengths - 1]
        return self._computed(lengths, n_ranks)

    def forward(self, states: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """``states [B, K, C]``, ``padding_mask [B, K]`` (True = padding, which stands at the end) → ``[B, C]`` float32."""
        states = states.to(torch.promote_types(states.dtype, torch.float32))
        n_ranks = int(states.shape[1])  # a number also where the module is traced
        if padding_mask is None:
            weights = self.weights(n_ranks, n_ranks)
            ranked = states.sort(dim=1, descending=True).values
        else:
            weights = self.weights((~padding_mask).sum(dim=1), n_ranks)
            ranked = states.masked_fill(padding_mask.unsqueeze(2), SINK).sort(dim=1, descending=True).values
        weights = weights.to(states.dtype).unsqueeze(1).expand(states.shape[0], -1, -1)
        return (weights @ ranked).squeeze(1)

    def token_weights(self, states: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """The weight of the rank that each state has in each channel, ``[B, K, C]``: pooling is Σ over K of weight · state."""
        states = states.to(torch.promote_types(states.dtype, torch.float32))
        n_ranks = states.shape[1]
        lengths: Any = n_ranks
        if padding_mask is not None:
            lengths = (~padding_mask).sum(dim=1)
            states = states.masked_fill(padding_mask.unsqueeze(2), SINK)
        weights = self.weights(lengths, n_ranks).to(states.dtype).unsqueeze(2).expand_as(states)
        order = states.argsort(dim=1, descending=True)
        return torch.zeros_like(states).scatter(1, order, weights)

    def train(self, mode: bool = True) -> GeneralisedPooling:
        self._kept = None
        return super().train(mode)

    def _table(self, n_ranks: int) -> Tensor:
        """Weights of all lengths up to ``n_ranks``, which do not depend on it; kept as long as the parameters stay."""
        stamp = [(parameter.data_ptr(), parameter._version) for parameter in self.parameters()]
        if self._kept is None or self._kept[0] != stamp or len(self._kept[1]) < n_ranks:
            lengths = torch.arange(1, n_ranks + 1, device=self.score.weight.device)
            self._kept = stamp, self._computed(lengths, n_ranks)
        return self._kept[1]

    def _computed(self, lengths: Tensor, n_ranks: int) -> Tensor:
        ranks = rank_encodings(n_ranks, self.dim).to(lengths.device)
        index = torch.arange(n_ranks, device=lengths.device)
        real = index < lengths[:, None]
        # What the GRU has read ahead does not depend on the length; back from the last rank it does.
        mirrored = (lengths[:, None] - 1 - index).clamp(min=0)
        with torch.autocast(lengths.device.type, enabled=False):
            score = self.score.weight.to(torch.promote_types(self.score.weight.dtype, torch.float32))
            ahead = self._run(self.ahead, ranks[None].to(score.dtype)) @ score.T
            back = (self._run(self.back, ranks[mirrored].to(score.dtype)) @ score.T).squeeze(2).gather(1, mirrored)
            scores = (ahead.squeeze(2) + back) / 2
            return (scores / TEMPERATURE).masked_fill(~real, SINK / TEMPERATURE).softmax(dim=1).masked_fill(~real, 0.0)

    @staticmethod
    def _run(gru: nn.GRU, ranks: Tensor) -> Tensor:
        if gru.weight_ih_l0.dtype == ranks.dtype:
            return gru(ranks)[0]
        return functional_call(gru, {name: weight.to(ranks.dtype) for name, weight in gru.named_parameters()}, (ranks,))[0]
