"""Transformer blocks shared by the ECG encoder, the fusion module and the reconstruction decoder.

Sub-module names (``self_attn.q_proj``, ``fc1``, ``final_layer_norm`` …) are those of fairseq's encoder layers, so that
weights pre-trained there load without renaming.
"""

from __future__ import annotations

from typing import Any, Callable

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from cmelt_plugin.modules.text.real_tokens import RealTokens, on_real_tokens

# The fusion layers and the MLM head are BERT's, and with them its epsilon (Devlin et al. 2019).
BERT_NORM_EPSILON = 1e-12


def quick_gelu(x: Tensor) -> Tensor:
    """``x · σ(1.702 x)``, the sigmoid approximation of GELU (Hendrycks and Gimpel 2016)."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "quick_gelu": quick_gelu}


def init_bert_weights(module: nn.Module) -> None:
    """Linear and embedding weights from N(0, 0.02²), biases zero (Devlin et al. 2019); for ``Module.apply``."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, mean=0.0, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


class KeysAndValues:
    """What one attention has read so far, so that a later token is compared with it and nothing is read twice.

    Of an attention over a context the keys and values of the whole context are kept and no token is added.

    Attributes:
        pair: keys and values ``[B, H, S, D/H]`` of the S tokens read; None: none is.
    """

    def __init__(self) -> None:
        self.pair: tuple[Tensor, Tensor] | None = None

    def add(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values with those ``[B, H, L, D/H]`` of L further tokens behind them."""
        if self.pair is not None:
            key, value = torch.cat([self.pair[0], key], dim=2), torch.cat([self.pair[1], value], dim=2)
        self.pair = key, value
        return self.pair

    def select(self, rows: Tensor) -> None:
        """Go on with the sequences ``rows [R]``, any of the B in any order and number."""
        if self.pair is not None:
            self.pair = self.pair[0].index_select(0, rows), self.pair[1].index_select(0, rows)


def by_heads(states: Tensor, heads: int) -> Tensor:
    """``[B, L, D]`` → ``[B, H, L, D/H]``."""
    return states.unflatten(-1, (heads, -1)).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head attention of ``x`` over ``context`` (over itself when none is given).

    Args:
        dim: width of the queries and of the result.
        heads: attention heads.
        dropout: on attention weights.
        context_dim: width of the context; None: ``dim``.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0, context_dim: int | None = None):
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"width {dim} is not divisible by {heads} attention heads")
        self.heads = heads
        self.dropout = dropout
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(context_dim or dim, dim)
        self.v_proj = nn.Linear(context_dim or dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        padding_mask: Tensor | None = None,
        real: RealTokens | None = None,
        real_context: RealTokens | None = None,
        causal: bool = False,
        cache: KeysAndValues | None = None,
    ) -> Tensor:
        """
        Args:
            x: ``[B, L, D]`` queries; of one row they are those of every row of the context.
            context: ``[B, S, C]`` keys and values.
            padding_mask: ``[B, S]`` bool, True = padding, never attended to. None: nothing is padding.
            real, real_context: tokens of ``x`` and ``context`` that are to be computed; None: all.
            causal: a token attends to itself and those before it; without padding mask.
            cache: what was read before. Of a causal attention ``x`` then goes on behind it, one token at a time; of an
                attention over a context that context is read once.

        Returns:
            ``[B, L, D]``.
        """
        if context is None:
            states = on_real_tokens(x, real, self.q_proj, self.k_proj, self.v_proj)
            query, key, value = (by_heads(part, self.heads) for part in states)
            if cache is not None:
                key, value = cache.add(key, value)
        else:
            query = by_heads(on_real_tokens(x, real, self.q_proj)[0], self.heads)
            if cache is not None and cache.pair is not None:
                key, value = cache.pair
            else:
                states = on_real_tokens(context, real_context, self.k_proj, self.v_proj)
                key, value = (by_heads(part, self.heads) for part in states)
                if cache is not None:
                    cache.add(key, value)
            query = query.expand(key.shape[0], -1, -1, -1)
        attend = None if padding_mask is None else ~padding_mask[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        causal = causal and query.shape[2] > 1
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=attend, dropout_p=dropout, is_causal=causal)
        return on_real_tokens(out.transpose(1, 2).flatten(-2), real, self.out_proj)[0]

    def weights(self, x: Tensor, context: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Shares ``[B, L, S]`` with which each of L queries attends to the context, mean over heads; they sum to one.

        Args:
            x, context, padding_mask: as :meth:`forward`.
        """
        query, key = by_heads(self.q_proj(x), self.heads), by_heads(self.k_proj(context), self.heads)
        logits = (query @ key.transpose(-1, -2)).float() / query.shape[-1] ** 0.5
        if padding_mask is not None:
            logits = logits.masked_fill(padding_mask[:, None, None, :], float("-inf"))
        return logits.softmax(-1).mean(1)


class _ActivatedLinear(torch.autograd.Function):
    """``linear(activation(x), weight, bias)`` that keeps ``x`` alone, and not what the activation makes of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.activation = activation
        return F.linear(activation(x), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                active = ctx.activation(x)
            rows = gradient.flatten(0, -2)
            d_weight = rows.T @ active.detach().flatten(0, -2) if ctx.needs_input_grad[1] else None
            d_bias = rows.sum(dim=0) if ctx.needs_input_grad[2] else None
            (d_x,) = torch.autograd.grad(active, x, (rows @ weight).view_as(active))
        return d_x, d_weight, d_bias, None


class FeedForwardLayer(nn.Module):
    """Base of layers that end in a feed-forward network: attention comes first, then :meth:`_end_with_feed_forward`."""

    activation: str

    def _end_with_feed_forward(self, dim: int, ffn_dim: int, dropout: float, norm_epsilon: float, activation: str) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {activation!r}")
        self.activation = activation
        self.fc1 = nn.Linear(dim, ffn_dim)
        self.fc2 = nn.Linear(ffn_dim, dim)
        self.final_layer_norm = nn.LayerNorm(dim, norm_epsilon)
        self.dropout = nn.Dropout(dropout)

    def feed_forward(self, x: Tensor, real: RealTokens | None = None) -> Tensor:
        """``[B, L, D]`` → ``[B, L, D]``; ``real``: tokens that are to be computed, None: all."""
        return self.dropout(on_real_tokens(x, real, self._dense)[0])

    def _dense(self, x: Tensor) -> Tensor:
        hidden, activation = self.fc1(x), ACTIVATIONS[self.activation]
        if torch.compiler.is_compiling() or not (torch.is_grad_enabled() and hidden.requires_grad):
            return self.fc2(activation(hidden))
        # The widest states of a layer are twice as many as are needed: those behind the activation are made again.
        weight, bias = (parameter.to(hidden.dtype) for parameter in (self.fc2.weight, self.fc2.bias))
        return _ActivatedLinear.apply(hidden, weight, bias, activation)  # type: ignore[no-untyped-call]


class EncoderLayer(FeedForwardLayer):
    """Self-attention and feed-forward, post-norm (as in wav2vec 2.0's ``base``) or pre-norm."""

    def __init__(
        self,
        dim: int,
        heads: int,
        ffn_dim: int,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        norm_first: bool = False,
        norm_epsilon: float = 1e-5,
        activation: str = "gelu",
    ):
        super().__init__()
        self.norm_first = norm_first
        self.self_attn = Attention(dim, heads, attention_dropout)
        self.self_attn_layer_norm = nn.LayerNorm(dim, norm_epsilon)
        self._end_with_feed_forward(dim, ffn_dim, dropout, norm_epsilon, activation)

    def forward(
        self,
        x: Tensor,
        padding_mask: Tensor | None = None,
        real: RealTokens | None = None,
        causal: bool = False,
        cache: KeysAndValues | None = None,
    ) -> Tensor:
        """``x [B, L, D]`` → ``[B, L, D]``; the other arguments are those of :class:`Attention`."""
        if self.norm_first:
            states = self.self_attn_layer_norm(x)
            x = x + self.dropout(self.self_attn(states, None, padding_mask, real, None, causal, cache))
            return x + self.feed_forward(self.final_layer_norm(x), real)
        x = self.self_attn_layer_norm(x + self.dropout(self.self_attn(x, None, padding_mask, real, None, causal, cache)))
        return self.final_layer_norm(x + self.feed_forward(x, real))


class CrossModalLayer(EncoderLayer):
    """Self-attention → cross-attention to the other modality → feed-forward, post-norm (paper §3.1, fusion module)."""

    def __init__(self, dim: int, heads: int, ffn_dim: int, dropout: float = 0.1, attention_dropout: float = 0.1):
        super().__init__(dim, heads, ffn_dim, dropout, attention_dropout, norm_epsilon=BERT_NORM_EPSILON)
        self.cross_attn = Attention(dim, heads, attention_dropout)
        self.cross_attn_layer_norm = nn.LayerNorm(dim, BERT_NORM_EPSILON)

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        other: Tensor,
        padding_mask: Tensor | None = None,
        other_padding_mask: Tensor | None = None,
        real: RealTokens | None = None,
        other_real: RealTokens | None = None,
    ) -> Tensor:
        """``x [B, L, D]`` informed by ``other [B, S, D]`` → ``[B, L, D]``.

        Args:
            x, other: see above.
            padding_mask, other_padding_mask: True = padding.
            real, other_real: tokens that are to be computed; None: all.
        """
        x = self.self_attn_layer_norm(x + self.dropout(self.self_attn(x, None, padding_mask, real)))
        attended = self.cross_attn(x, other, other_padding_mask, real, other_real)
        x = self.cross_attn_layer_norm(x + self.dropout(attended))
        return self.final_layer_norm(x + self.feed_forward(x, real))


def run_layer(layer: nn.Module, *inputs: Tensor | RealTokens | bool | None, recompute: bool = False) -> Tensor:
    """``layer(*inputs)``; with ``recompute`` nothing inside it is kept for the backward pass, which runs it once more.

    The second run draws the same dropout.
    """
    if recompute and torch.is_grad_enabled():
        return checkpoint(layer, *inputs, use_reentrant=False)
    return layer(*inputs)


class Encoder(nn.Module):
    """LayerNorm in front (post-norm stacks, as fairseq does) or behind (pre-norm stacks), dropout, and the layers."""

    def __init__(
        self,
        layers: int,
        dim: int,
        heads: int,
        ffn_dim: int,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        norm_first: bool = False,
        activation: str = "gelu",
        recompute: bool = False,
    ):
        super().__init__()
        self.norm_first = norm_first
        self.recompute = recompute
        self.layer_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(dim, heads, ffn_dim, dropout, attention_dropout, norm_first, activation=activation)
            for _ in range(layers)
        )
        self.apply(init_bert_weights)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """``[B, L, D]`` → ``[B, L, D]``; ``padding_mask [B, L]``: True = padding."""
        x = self.dropout(x if self.norm_first else self.layer_norm(x))
        for layer in self.layers:
            x = run_layer(layer, x, padding_mask, recompute=self.recompute)
        return self.layer_norm(x) if self.norm_first else x


def sinusoidal_positions(length: int, dim: int) -> Tensor:
    """``[length, dim]`` sine/cosine position table of Vaswani et al. 2017, §3.5 (sine on even columns)."""
    position = torch.arange(length, dtype=torch.float32)[:, None]
    frequency = torch.exp(torch.arange(0, dim, 2, dtype=torch.float32) * (-torch.log(torch.tensor(10000.0)) / dim))
    table = torch.zeros(length, dim)
    table[:, 0::2] = torch.sin(position * frequency)
    table[:, 1::2] = torch.cos(position * frequency)[:, : dim // 2]
    return table
