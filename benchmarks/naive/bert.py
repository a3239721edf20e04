"""A BERT (Devlin et al. 2019) with PyTorch's fused attention, which a mask to be added to the scores tells where to look."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.naive.attention import BERT_EPSILON, Weights, attend, hide


def causal_bias(length: int, padding_mask: Tensor | None, device: torch.device) -> Tensor:
    """What is added to the scores: ``[L, L]``, or ``[B, 1, L, L]`` where ``padding_mask [B, L]`` (True = padding) is given."""
    bias = torch.full((length, length), torch.finfo(torch.float32).min, device=device).triu(1)
    if padding_mask is None:
        return bias
    hidden = padding_mask[:, None, None, :]
    return bias.expand(len(padding_mask), 1, -1, -1).masked_fill(hidden, torch.finfo(torch.float32).min)


def bert_layer(
    weights: Weights, x: Tensor, bias: Tensor | None, heads: int, dropout: float, attention_dropout: float
) -> Tensor:
    """One post-norm layer, ``[B, L, D]`` → ``[B, L, D]``; ``bias`` is added to the scores of its attention."""
    parts = []
    for name in ("query", "key", "value"):
        part = weights.linear(f"attention.self.{name}", x)
        parts.append(part.view(len(part), part.shape[1], heads, -1).transpose(1, 2))
    query, key, value = parts
    scale = 1 / math.sqrt(query.shape[-1])
    out = attend(query, key, value, None if bias is None else bias.to(query.dtype), attention_dropout, scale, eager=False)
    out = weights.linear("attention.output.dense", out.transpose(1, 2).reshape(x.shape))
    x = weights.layer_norm("attention.output.LayerNorm", x + F.dropout(out, dropout), BERT_EPSILON)
    out = weights.linear("output.dense", F.gelu(weights.linear("intermediate.dense", x)))
    return weights.layer_norm("output.LayerNorm", x + F.dropout(out, dropout), BERT_EPSILON)


def encode_texts(
    weights: Weights,
    sizes: dict[str, Any],
    ids: Tensor,
    padding_mask: Tensor,
    with_dropout: bool,
    n_constant: int = 0,
    causal: bool = False,
) -> Tensor:
    """Token ids ``[B, L]``, padding ``[B, L]`` True = padding → states ``[B, L, D]``.

    Args:
        weights: of a Hugging Face BERT.
        sizes: its configuration.
        ids, padding_mask: the texts.
        with_dropout: as configured, in frozen layers, too; False: none.
        n_constant: layers, from the first on, which pass no gradient on, nor do the embeddings below them; 0: all pass it.
        causal: a token sees itself and those before it alone.
    """
    dropout = sizes.get("hidden_dropout_prob", 0.1) if with_dropout else 0.0
    attention_dropout = sizes.get("attention_probs_dropout_prob", 0.1) if with_dropout else 0.0
    bias = causal_bias(ids.shape[1], padding_mask, ids.device) if causal else hide(padding_mask, torch.float32)
    embeddings = weights.below("embeddings")
    with torch.no_grad() if n_constant else nullcontext():
        x = F.embedding(ids, embeddings["word_embeddings.weight"]) + embeddings["token_type_embeddings.weight"][0]
        x = x + embeddings["position_embeddings.weight"][: ids.shape[1]]
        x = F.dropout(embeddings.layer_norm("LayerNorm", x, BERT_EPSILON), dropout)
    for number in range(sizes["num_hidden_layers"]):
        layer = weights.below(f"encoder.layer.{number}")
        with torch.no_grad() if number < n_constant else nullcontext():
            x = bert_layer(layer, x, bias, sizes["num_attention_heads"], dropout, attention_dropout)
    return x
