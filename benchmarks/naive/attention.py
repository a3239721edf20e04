"""Attention, by default in the eager way: every [B, H, L, S] matrix is written to memory, four times over."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

BERT_EPSILON = 1e-12


class Weights(NamedTuple):
    """Parameters by name, below a prefix.

    Attributes:
        all: every parameter and its full name.
        prefix: of this part, ending in a dot or empty.
    """

    all: dict[str, Tensor]
    prefix: str = ""

    def __getitem__(self, name: str) -> Tensor:  # type: ignore[override]
        return self.all[self.prefix + name]

    def below(self, name: str) -> Weights:
        """Parameters of a sub-module."""
        return Weights(self.all, f"{self.prefix}{name}.")

    def linear(self, name: str, x: Tensor) -> Tensor:
        """``x`` through the linear layer of that name."""
        return F.linear(x, self[f"{name}.weight"], self.all.get(f"{self.prefix}{name}.bias"))

    def layer_norm(self, name: str, x: Tensor, epsilon: float = 1e-5) -> Tensor:
        """``x`` through the layer norm of that name."""
        weight = self[f"{name}.weight"]
        return F.layer_norm(x, weight.shape, weight, self[f"{name}.bias"], epsilon)


class Mode(NamedTuple):
    """How the naive model computes; the defaults are the way of the authors' release in everything.

    Attributes:
        dropout: as configured; False: none, for comparing losses.
        full_vocabulary: vocabulary logits at every position, not only at masked ones.
        eager: attention by explicit matrices in text encoder and fusion. ECG encoder and decoder of masked ECG modelling call
            PyTorch's fused attention in the release, too.
    """

    dropout: bool = True
    full_vocabulary: bool = True
    eager: bool = True


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, dropout: float, scale: float, eager: bool) -> Tensor:
    """Softmax attention.

    Args:
        query, key, value: ``[B, H, L or S, D]``.
        bias: added to the scores, broadcast to ``[B, H, L, S]``; -inf hides a key.
        dropout: probability on attention weights.
        scale: factor on the scores.
        eager: see :class:`Mode`.
    """
    if not eager:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout, scale=scale)
    scores = torch.matmul(query, key.transpose(-1, -2)) * scale
    if bias is not None:
        scores = scores + bias
    return torch.matmul(F.dropout(F.softmax(scores, dim=-1), dropout), value)


def hide(padding_mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """``[B, S]`` True = hidden → additive ``[B, 1, 1, S]``."""
    if padding_mask is None:
        return None
    bias = torch.zeros(padding_mask.shape, dtype=dtype, device=padding_mask.device)
    return bias.masked_fill(padding_mask, float("-inf"))[:, None, None, :]


def multi_head(weights: Weights, x: Tensor, context: Tensor, bias: Tensor | None, heads: int, dropout: float, eager: bool):
    """Multi-head attention with ``q_proj, k_proj, v_proj, out_proj``: ``x [B, L, D]`` over ``context [B, S, C]``.

    ``bias`` is added to the scores, see :func:`attend`.
    """
    parts = []
    for name, source in (("q_proj", x), ("k_proj", context), ("v_proj", context)):
        part = weights.linear(name, source)
        parts.append(part.view(len(part), part.shape[1], heads, -1).transpose(1, 2))
    query, key, value = parts
    bias = None if bias is None else bias.to(query.dtype)
    out = attend(query, key, value, bias, dropout, 1 / math.sqrt(query.shape[-1]), eager)
    return weights.linear("out_proj", out.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1))


def transformer_layer(
    weights: Weights,
    x: Tensor,
    hidden: Tensor | None,
    heads: int,
    dropout: float,
    attention_dropout: float,
    eager: bool,
    other: Tensor | None = None,
    other_hidden: Tensor | None = None,
) -> Tensor:
    """A post-norm layer: self-attention, where ``other`` is given cross-attention to it, feed-forward.

    Args:
        weights: of the layer.
        x: ``[B, L, D]``.
        hidden: ``[B, L]`` True = not attended to.
        heads, dropout, attention_dropout: of the layer.
        eager: see :class:`Mode`.
        other, other_hidden: the other modality ``[B, S, D]`` and its mask.
    """
    epsilon = 1e-5 if other is None else BERT_EPSILON
    attended = multi_head(weights.below("self_attn"), x, x, hide(hidden, x.dtype), heads, attention_dropout, eager)
    x = weights.layer_norm("self_attn_layer_norm", x + F.dropout(attended, dropout), epsilon)
    if other is not None:
        bias = hide(other_hidden, x.dtype)
        attended = multi_head(weights.below("cross_attn"), x, other, bias, heads, attention_dropout, eager)
        x = weights.layer_norm("cross_attn_layer_norm", x + F.dropout(attended, dropout), epsilon)
    inner = weights.linear("fc2", F.gelu(weights.linear("fc1", x)))
    return weights.layer_norm("final_layer_norm", x + F.dropout(inner, dropout), epsilon)
