"""The encoder of T5 for serving alone, in PyTorch: importing transformers' takes longer than a prediction.

Weights have transformers' names. There is no dropout: a model that shall train takes transformers' class.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Callable, cast

import torch
from torch import Tensor, nn

KIND = "t5"
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": nn.functional.relu,
    "gated-gelu": lambda x: nn.functional.gelu(x, approximate="tanh"),
}
SIZES = {
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_heads": 8,
    "num_layers": 6,
    "vocab_size": 32128,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
}
"""Of a configuration, and what transformers takes where it does not say."""


def is_plain(values: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of an encoder this module knows."""
    return values.get("model_type") == KIND and values.get("feed_forward_proj", "relu") in ACTIVATIONS


class PlainT5(nn.Module):
    """Token ids → last hidden states.

    Args:
        values: a configuration for which :func:`is_plain` holds.
    """

    def __init__(self, values: Mapping[str, Any]):
        super().__init__()
        sizes = {name: int(values.get(name, default)) for name, default in SIZES.items()}
        self.shared = nn.Embedding(sizes["vocab_size"], sizes["d_model"])
        self.encoder = _Stack(
            self.shared,
            sizes,
            float(values.get("layer_norm_epsilon", 1e-6)),
            values.get("feed_forward_proj", "relu"),
        )

    def get_input_embeddings(self) -> nn.Embedding:
        return self.shared

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> SimpleNamespace:
        """``input_ids [B, L]``, ``attention_mask [B, L]`` 1 = attend → ``last_hidden_state [B, L, D]``."""
        return SimpleNamespace(last_hidden_state=self.encoder(input_ids, attention_mask))


class _Stack(nn.Module):
    def __init__(self, embedding: nn.Embedding, sizes: dict[str, int], eps: float, activation: str):
        super().__init__()
        self.embed_tokens = embedding
        self.block = nn.ModuleList(_Block(sizes, eps, activation, first=n == 0) for n in range(sizes["num_layers"]))
        self.final_layer_norm = _RootMeanSquare(sizes["d_model"], eps)

    def forward(self, ids: Tensor, attend: Tensor | None) -> Tensor:
        x = self.embed_tokens(ids)
        first = cast(_AttentionLayer, cast(_Block, self.block[0]).layer[0])
        bias = first.SelfAttention.position_bias(ids.shape[1])
        if attend is not None:
            bias = bias.masked_fill(attend[:, None, None, :] == 0, torch.finfo(bias.dtype).min)
        for block in self.block:
            x = block(x, bias)
        return self.final_layer_norm(x)


class _Block(nn.Module):
    def __init__(self, sizes: dict[str, int], eps: float, activation: str, first: bool):
        super().__init__()
        self.layer = nn.ModuleList([_AttentionLayer(sizes, eps, first), _FeedForwardLayer(sizes, eps, activation)])

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return self.layer[1](self.layer[0](x, bias))


class _AttentionLayer(nn.Module):
    def __init__(self, sizes: dict[str, int], eps: float, first: bool):
        super().__init__()
        self.SelfAttention = _Attention(sizes, first)
        self.layer_norm = _RootMeanSquare(sizes["d_model"], eps)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return x + self.SelfAttention(self.layer_norm(x), bias)


class _FeedForwardLayer(nn.Module):
    def __init__(self, sizes: dict[str, int], eps: float, activation: str):
        super().__init__()
        self.DenseReluDense = _FeedForward(sizes, activation)
        self.layer_norm = _RootMeanSquare(sizes["d_model"], eps)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.DenseReluDense(self.layer_norm(x))


class _Attention(nn.Module):
    """Attention without scaling; the bias of relative positions, of the first layer, holds for all."""

    def __init__(self, sizes: dict[str, int], first: bool):
        super().__init__()
        self.heads, inner = sizes["num_heads"], sizes["num_heads"] * sizes["d_kv"]
        self.q, self.k, self.v = (nn.Linear(sizes["d_model"], inner, bias=False) for _ in range(3))
        self.o = nn.Linear(inner, sizes["d_model"], bias=False)
        self.buckets, self.farthest = sizes["relative_attention_num_buckets"], sizes["relative_attention_max_distance"]
        if first:
            self.relative_attention_bias = nn.Embedding(self.buckets, self.heads)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v))
        weights = (q @ k.transpose(-1, -2) + bias).float().softmax(dim=-1).to(v.dtype)
        return self.o((weights @ v).transpose(1, 2).flatten(-2))

    def position_bias(self, length: int) -> Tensor:
        """``[1, heads, length, length]``."""
        places = torch.arange(length, device=self.q.weight.device)
        distance = places[None, :] - places[:, None]
        half = self.buckets // 2
        exact = half // 2
        far = torch.log(distance.abs().clamp_min(1).float() / exact) / math.log(self.farthest / exact) * (half - exact)
        bucket = torch.where(distance.abs() < exact, distance.abs(), (exact + far.long()).clamp_max(half - 1))
        return self.relative_attention_bias(bucket + half * (distance > 0)).permute(2, 0, 1)[None]


class _FeedForward(nn.Module):
    def __init__(self, sizes: dict[str, int], activation: str):
        super().__init__()
        self.activation: Callable[[Tensor], Tensor] = ACTIVATIONS[activation]
        self.gated = activation.startswith("gated")
        if self.gated:
            self.wi_0, self.wi_1 = (nn.Linear(sizes["d_model"], sizes["d_ff"], bias=False) for _ in range(2))
        else:
            self.wi = nn.Linear(sizes["d_model"], sizes["d_ff"], bias=False)
        self.wo = nn.Linear(sizes["d_ff"], sizes["d_model"], bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.gated:
            return self.wo(self.activation(self.wi(x)))
        return self.wo(self.activation(self.wi_0(x)) * self.wi_1(x))


class _RootMeanSquare(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)).to(self.weight.dtype)
