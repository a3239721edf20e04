"""A T5 encoder (Raffel et al. 2020; gated GELU of Shazeer 2020) with eager attention and relative position buckets."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.naive.attention import Mode, Weights, attend, hide


def position_buckets(length: int, n_buckets: int, max_distance: int, device: torch.device) -> Tensor:
    """Bucket of key - query for every pair, int64 ``[L, L]``.

    Half of the buckets are for keys after the query. Of each half, the first half holds one distance each, the rest distances
    spaced logarithmically up to ``max_distance``.
    """
    place = torch.arange(length, device=device)
    offset = place[None, :] - place[:, None]
    distance, half = offset.abs(), n_buckets // 2
    exact = half // 2
    growth = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = (exact + (growth * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(distance < exact, distance, far) + half * (offset > 0).long()


def root_mean_square_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """T5's normalisation: scaled to unit root mean square, not centred."""
    return weight * (x * torch.rsqrt(x.float().square().mean(dim=-1, keepdim=True) + epsilon)).to(weight.dtype)


def gelu(x: Tensor) -> Tensor:
    """GELU by its approximation with a hyperbolic tangent (Hendrycks and Gimpel 2016), as Hugging Face's T5 has it."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


def encode_text(weights: Weights, sizes: dict[str, Any], ids: Tensor, padding_mask: Tensor, mode: Mode) -> Tensor:
    """Token ids ``[B, L]``, padding ``[B, L]`` True = padding → states ``[B, L, D]``.

    Args:
        weights: of a Hugging Face T5 encoder.
        sizes: its configuration.
        ids, padding_mask: the texts.
        mode: see :class:`Mode`.
    """
    dropout = sizes.get("dropout_rate", 0.1) if mode.dropout else 0.0
    epsilon, heads = sizes.get("layer_norm_epsilon", 1e-6), sizes["num_heads"]
    n_buckets, max_distance = sizes.get("relative_attention_num_buckets", 32), sizes.get("relative_attention_max_distance", 128)
    x = F.dropout(F.embedding(ids, weights["shared.weight"]), dropout)
    buckets = position_buckets(ids.shape[1], n_buckets, max_distance, ids.device)
    first = weights.below("encoder.block.0.layer.0.SelfAttention")
    positions = F.embedding(buckets, first["relative_attention_bias.weight"]).permute(2, 0, 1)[None]
    for number in range(sizes["num_layers"]):
        block = weights.below(f"encoder.block.{number}.layer")
        attention = block.below("0.SelfAttention")
        normed = root_mean_square_norm(x, block["0.layer_norm.weight"], epsilon)
        parts = []
        for name in ("q", "k", "v"):
            part = attention.linear(name, normed)
            parts.append(part.view(len(part), part.shape[1], heads, -1).transpose(1, 2))
        query, key, value = parts
        hidden = hide(padding_mask, query.dtype)
        # T5 does not scale the scores.
        attended = attend(query, key, value, positions.to(query.dtype) + hidden, dropout, 1.0, mode.eager)
        attended = attention.linear("o", attended.transpose(1, 2).reshape(len(x), x.shape[1], -1))
        x = x + F.dropout(attended, dropout)
        dense = block.below("1.DenseReluDense")
        normed = root_mean_square_norm(x, block["1.layer_norm.weight"], epsilon)
        inner = gelu(dense.linear("wi_0", normed)) * dense.linear("wi_1", normed)
        x = x + F.dropout(dense.linear("wo", F.dropout(inner, dropout)), dropout)
    return F.dropout(root_mean_square_norm(x, weights["encoder.final_layer_norm.weight"], epsilon), dropout)
