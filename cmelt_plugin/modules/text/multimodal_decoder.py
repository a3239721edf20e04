"""The decoder that writes a report from states of its tokens and of a recording (CoCa, Yu et al. 2022, §3.2; MELP)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from cmelt_plugin.modules.text.real_tokens import RealTokens, on_real_tokens
from cmelt_plugin.modules.transformer import (
    Attention,
    EncoderLayer,
    FeedForwardLayer,
    KeysAndValues,
    init_bert_weights,
    run_layer,
)


class CrossAttentionLayer(FeedForwardLayer):
    """Pre-norm attention over a context, which is normalised, too, and feed-forward."""

    def __init__(self, dim: int, heads: int, ffn_dim: int, dropout: float = 0.0):
        super().__init__()
        self.cross_attn = Attention(dim, heads, dropout)
        self.cross_attn_layer_norm = nn.LayerNorm(dim)
        self.context_layer_norm = nn.LayerNorm(dim)
        self._end_with_feed_forward(dim, ffn_dim, dropout, 1e-5, "gelu")

    def forward(self, x: Tensor, context: Tensor, real: RealTokens | None = None, cache: KeysAndValues | None = None) -> Tensor:
        """``x [B, N, D]``, ``context [B, S, D]`` → ``[B, N, D]``.

        Args:
            x, context: see above.
            real: tokens of ``x`` that are to be computed; None: all.
            cache: keeps what the first call reads of the context.
        """
        if cache is None or cache.pair is None:
            context = self.context_layer_norm(context)
        x = x + self.dropout(self.cross_attn(self.cross_attn_layer_norm(x), context, real=real, cache=cache))
        return x + self.feed_forward(self.final_layer_norm(x), real)


class LayerCache(NamedTuple):
    """What the two attentions of a pair of layers have read."""

    tokens: KeysAndValues
    context: KeysAndValues


class MultimodalDecoder(nn.Module):
    """Pairs of causal self-attention and cross-attention layers, LayerNorm, projection onto the vocabulary.

    All weights begin as BERT's do, N(0, 0.02²), the projection onto the vocabulary among them.

    Args:
        dim: D, width of tokens and context.
        layers: pairs of layers.
        heads: of every attention.
        vocab_size: V.
        dropout: on attention weights and the outputs of attention and feed-forward.
        recompute: keep no activations inside layers (:func:`cmelt_plugin.modules.transformer.run_layer`).
    """

    def __init__(self, dim: int, layers: int, heads: int, vocab_size: int, dropout: float = 0.0, recompute: bool = False):
        super().__init__()
        self.recompute = recompute
        self.self_layers = nn.ModuleList(
            EncoderLayer(dim, heads, 4 * dim, dropout, dropout, norm_first=True) for _ in range(layers)
        )
        self.cross_layers = nn.ModuleList(CrossAttentionLayer(dim, heads, 4 * dim, dropout) for _ in range(layers))
        self.layer_norm = nn.LayerNorm(dim)
        self.vocabulary = nn.Linear(dim, vocab_size, bias=False)
        self.apply(init_bert_weights)

    def empty_caches(self) -> list[LayerCache]:
        """One for each pair of layers, for decoding token by token."""
        return [LayerCache(KeysAndValues(), KeysAndValues()) for _ in self.self_layers]

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        padding_mask: Tensor | None = None,
        caches: Sequence[LayerCache] | None = None,
    ) -> Tensor:
        """
        Args:
            x: ``[B, N, D]`` states of tokens.
            context: ``[B, S, D]``, all of it real.
            padding_mask: ``[B, N]`` bool, True = a token at the end whose logits nobody reads: no token before it sees it, and
                it need not be computed.
            caches: from :meth:`empty_caches`; then ``x`` is one token behind those that were read with them.

        Returns:
            Logits ``[B, N, V]`` of the token that follows each.
        """
        real = None if caches is not None else RealTokens.of(padding_mask, x.shape[-1])
        for index, (own, cross) in enumerate(zip(self.self_layers, self.cross_layers)):
            if caches is None:
                x = run_layer(own, x, None, real, True, recompute=self.recompute)
                x = run_layer(cross, x, context, real, recompute=self.recompute)
            else:
                x = own(x, causal=True, cache=caches[index].tokens)
                x = cross(x, context, cache=caches[index].context)
        return on_real_tokens(self.layer_norm(x), real, self.vocabulary)[0]
