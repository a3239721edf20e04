"""A BERT or T5 encoder that reads from left to right, so that the states of a text can also be asked for its next word.

The layers are those of the Hugging Face model, under its names of weights; only their attention is told to look back alone
(MELP reads a BERT so that was trained to look both ways). Doing so here rather than through the model's own forward pass gives
three things that the versions of transformers offer differently or not at all: the lower layers alone, the upper layers alone,
and one token at a time behind what was read before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmelt_plugin.errors import DataError
from cmelt_plugin.modules.compiling import stacked_layers
from cmelt_plugin.modules.text.text_encoder import TextEncoder
from cmelt_plugin.modules.transformer import KeysAndValues, by_heads


class CausalBERTLayer(nn.Module):
    """What a ``BertLayer`` becomes: the same parts, attention as told by a mask."""

    def forward(self, x: Tensor, attend: Tensor | None, cache: KeysAndValues | None = None) -> Tensor:
        """
        Args:
            x: ``[B, N, D]``.
            attend: bool, to be broadcast to ``[B, H, N, S]``, True = attend; None: to all in the cache and to all before.
            cache: the tokens before ``x``, which then is one token.
        """
        layer: Any = self
        attention = layer.attention.self
        parts = (attention.query(x), attention.key(x), attention.value(x))
        query, key, value = (by_heads(part, attention.num_attention_heads) for part in parts)
        if cache is not None:
            key, value = cache.add(key, value)
        dropout = attention.dropout.p if attention.training else 0.0
        causal = attend is None and query.shape[2] > 1
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=attend, dropout_p=dropout, is_causal=causal)
        x = layer.attention.output(out.transpose(1, 2).flatten(-2), x)
        return layer.output(layer.intermediate(x), x)


class CausalT5Layer(nn.Module):
    """What a ``T5Block`` of an encoder becomes."""

    def forward(self, x: Tensor, attend: Tensor, cache: KeysAndValues | None = None) -> Tensor:
        """
        Args:
            x: ``[B, N, D]``.
            attend: to be added to the logits ``[B, H, N, S]``: the bias of positions, the lowest number where nothing is
                attended to.
            cache: the tokens before ``x``, which then is one token.
        """
        block: Any = self
        reading, feed_forward = block.layer
        attention, states = reading.SelfAttention, reading.layer_norm(x)
        query, key, value = (by_heads(part(states), attention.n_heads) for part in (attention.q, attention.k, attention.v))
        if cache is not None:
            key, value = cache.add(key, value)
        dropout = attention.dropout if attention.training else 0.0
        attend = attend.to(query.dtype)  # under autocast the bias is float32, the query is not
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=attend, dropout_p=dropout, scale=1.0)
        x = x + reading.dropout(attention.o(out.transpose(1, 2).flatten(-2)))
        return feed_forward(x)


class LastStates(NamedTuple):
    """``[B, N, D]``, under the name that Hugging Face models give them."""

    last_hidden_state: Tensor


LAYERS: dict[str, type[nn.Module]] = {"bert": CausalBERTLayer, "t5": CausalT5Layer, "mt5": CausalT5Layer}


class CausalTextEncoder(TextEncoder):
    """:class:`TextEncoder` in which a token sees itself and those before it.

    Args:
        description, pretrained: as :class:`TextEncoder`.
        free_layers: how many of the last layers train; None: all of them.
        free_embeddings: whether the embeddings train although layers above them do not (released MELP).

    Raises:
        DataError: as :class:`TextEncoder`; the encoder is of another family than BERT and T5; or it has not so many layers.
    """

    def __init__(
        self,
        description: str,
        pretrained: str | None = None,
        free_layers: int | None = None,
        free_embeddings: bool = False,
    ):
        super().__init__(description, pretrained)
        config = self.model.config
        kind = LAYERS.get(self.model_type)
        if kind is None or getattr(config, "position_embedding_type", None) not in (None, "absolute"):
            raise DataError(
                f"a {self.model_type} text encoder cannot be read from left to right here; choose one of {', '.join(LAYERS)}"
            )
        self.causal_layers: list[nn.Module] = list(stacked_layers(self.model))
        for layer in self.causal_layers:
            layer.__class__ = kind
        self.is_t5 = kind is CausalT5Layer
        self.max_tokens = None if self.is_t5 else int(config.max_position_embeddings)
        self.pad_tokens = () if config.pad_token_id is None else (int(config.pad_token_id),)
        self.free_embeddings = free_embeddings
        if free_layers is not None:
            self.freeze(free_layers)

    @property
    def n_frozen(self) -> int:
        """Layers, from the first on, that do not train."""
        return 0 if self.free_layers is None else len(self.causal_layers) - self.free_layers

    @property
    def lower_is_constant(self) -> bool:
        """Whether :meth:`lower` of a text stays what it is while the rest trains, so that it may be computed once."""
        return self.n_frozen > 0 and not self.free_embeddings

    @property
    def _embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings() if self.is_t5 else self.model.embeddings

    def _free_modules(self) -> list[nn.Module]:
        return [*([self._embeddings] if self.free_embeddings else []), *super()._free_modules()]

    def lower_fingerprint(self) -> str:
        """``sha256:`` of what :meth:`lower` computes."""
        weights = self.fingerprint([self._embeddings, *self.causal_layers[: self.n_frozen]])
        return "sha256:" + hashlib.sha256(f"{weights} {self.n_frozen} layers, causal".encode()).hexdigest()

    def forward(
        self, text: Tensor, padding_mask: Tensor | None = None, gaps: bool = False, lower: Tensor | None = None
    ) -> Tensor:
        """As :meth:`TextEncoder.forward`.

        Args:
            text, padding_mask: see there.
            gaps: as :meth:`lower`.
            lower: the states of :meth:`lower`, in any precision, which then are not computed.
        """
        lower = self.lower(text, padding_mask, gaps) if lower is None else self.restored(lower)
        return self.upper(lower, padding_mask, gaps)

    def _run(self, text: Tensor, padding_mask: Tensor | None) -> LastStates:
        return LastStates(self(text, padding_mask))

    def lower(self, text: Tensor, padding_mask: Tensor | None = None, gaps: bool = False) -> Tensor:
        """States after the layers that do not train; without such layers, the embeddings.

        Args:
            text, padding_mask: as :meth:`forward`.
            gaps: whether real tokens follow padding. Padding at the end need not be masked: nothing before it sees it.

        Returns:
            ``[B, N, D]``.

        Raises:
            DataError: more tokens than the encoder has positions.
        """
        if self.max_tokens is not None and text.shape[1] > self.max_tokens:
            raise DataError(
                f"a text of {text.shape[1]} tokens, with those at its ends, for an encoder of {self.max_tokens} positions; "
                "set task.max_text_tokens lower"
            )
        with torch.no_grad() if self.lower_is_constant else nullcontext():
            return self._through(self._embed(text, 0), padding_mask, gaps, 0, self.n_frozen)

    def upper(self, states: Tensor, padding_mask: Tensor | None = None, gaps: bool = False) -> Tensor:
        """From :meth:`lower` to the last states, ``[B, N, D]`` both; arguments as there."""
        return self._end(self._through(states, padding_mask, gaps, self.n_frozen, len(self.causal_layers)))

    def restored(self, states: Tensor) -> Tensor:
        """States that were kept, in any precision, in the one in which :meth:`upper` takes them: T5's never below float32."""
        return states.float() if self.is_t5 else states.to(self.model.get_input_embeddings().weight.dtype)

    def empty_caches(self) -> list[KeysAndValues]:
        """One for each layer, for :meth:`next`."""
        return [KeysAndValues() for _ in self.causal_layers]

    def next(self, token: Tensor, position: int, caches: Sequence[KeysAndValues]) -> Tensor:
        """The state of one more token: ``token [B]`` int64 behind ``position`` others, read with ``caches`` → ``[B, 1, D]``."""
        x = self._embed(token[:, None], position)
        attend = self._position_bias(position, position + 1) if self.is_t5 else None
        for layer, cache in zip(self.causal_layers, caches):
            x = layer(x, attend, cache)
        return self._end(x)

    def _embed(self, text: Tensor, first: int) -> Tensor:
        if self.is_t5:
            return self.model.encoder.dropout(self.model.encoder.embed_tokens(text))
        positions = torch.arange(first, first + text.shape[1], device=text.device)[None]
        return self.model.embeddings(input_ids=text, position_ids=positions)

    def _end(self, x: Tensor) -> Tensor:
        return self.model.encoder.dropout(self.model.encoder.final_layer_norm(x)) if self.is_t5 else x

    def _through(self, x: Tensor, padding_mask: Tensor | None, gaps: bool, first: int, stop: int) -> Tensor:
        if first == stop:
            return x
        attend = self._attend(x.shape[1], padding_mask if gaps else None, x.device)
        with self._linears.padded(padding_mask):
            for layer in self.causal_layers[first:stop]:
                x = layer(x, attend)
        return x

    def _attend(self, n: int, padding_mask: Tensor | None, device: torch.device) -> Tensor | None:
        """What layers are told of the places each of n tokens attends to; None: all before it, nothing more to tell."""
        if padding_mask is None and not self.is_t5:
            return None
        attend = torch.ones(n, n, dtype=torch.bool, device=device).tril()[None, None]
        if padding_mask is not None:
            attend = attend & ~padding_mask[:, None, None, :]
        if not self.is_t5:
            return attend
        bias = self._position_bias(0, n)
        return bias.masked_fill(~attend, torch.finfo(bias.dtype).min)

    def _position_bias(self, first: int, stop: int) -> Tensor:
        """T5's bias for the tokens ``first`` to ``stop`` over all tokens before ``stop``: ``[1, H, stop - first, stop]``."""
        lowest: Any = self.causal_layers[0]
        attention = lowest.layer[0].SelfAttention
        embedding = attention.relative_attention_bias
        place = torch.arange(stop, device=embedding.weight.device)
        buckets = attention._relative_position_bucket(
            place[None, :] - place[first:, None],
            bidirectional=True,
            num_buckets=attention.relative_attention_num_buckets,
            max_distance=attention.relative_attention_max_distance,
        )
        return embedding(buckets).permute(2, 0, 1)[None]
