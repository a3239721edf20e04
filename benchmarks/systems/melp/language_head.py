"""The vocabulary logits of the release's text tower, which nobody reads."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.naive.attention import BERT_EPSILON


class LanguageHead(nn.Module):
    """BERT's head for language modelling, whose projection onto the vocabulary is the table of embeddings; it never trains.

    Args:
        width: of the states.
        vocab_size: of the table.
    """

    def __init__(self, width: int, vocab_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, BERT_EPSILON)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, states: Tensor, table: Tensor) -> Tensor:
        """``[B, L, D]``, table ``[V, D]`` → logits ``[B, L, V]``."""
        return F.linear(self.norm(F.gelu(self.dense(states))), table, self.bias)
