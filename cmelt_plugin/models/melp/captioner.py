"""MELP's captioner, one token after the other: what :mod:`cmelt_plugin.modules.text.decoding` asks for the next token."""

from __future__ import annotations

from torch import Tensor

from cmelt_plugin.modules.text.causal_text_encoder import CausalTextEncoder
from cmelt_plugin.modules.text.multimodal_decoder import MultimodalDecoder


class CachedCaptioner:
    """Every token is read once, and the recordings are read once.

    Args:
        text_encoder, decoder: in eval mode.
        context: ``[R, S, D]`` caption tokens of R recordings.
    """

    def __init__(self, text_encoder: CausalTextEncoder, decoder: MultimodalDecoder, context: Tensor):
        self.text_encoder, self.decoder, self.context = text_encoder, decoder, context
        self.text_caches, self.caches = text_encoder.empty_caches(), decoder.empty_caches()

    def logits(self, ids: Tensor) -> Tensor:
        """``ids [R, t]`` → ``[R, V]``; all but the last token must be those of the call before."""
        states = self.text_encoder.next(ids[:, -1], ids.shape[1] - 1, self.text_caches)
        return self.decoder(states, self.context, caches=self.caches)[:, 0]

    def select(self, rows: Tensor) -> None:
        same_recordings = len(rows) == len(self.context)  # beams change places with those of their own recording alone
        for cache in self.text_caches:
            cache.select(rows)
        for layer in self.caches:
            layer.tokens.select(rows)
            if not same_recordings:
                layer.context.select(rows)
        if not same_recordings:
            self.context = self.context.index_select(0, rows)


class WholeCaptioner:
    """Everything is read anew for every token; the same logits, for comparison."""

    def __init__(self, text_encoder: CausalTextEncoder, decoder: MultimodalDecoder, context: Tensor):
        self.text_encoder, self.decoder, self.context = text_encoder, decoder, context

    def logits(self, ids: Tensor) -> Tensor:
        return self.decoder(self.text_encoder(ids), self.context)[:, -1]

    def select(self, rows: Tensor) -> None:
        self.context = self.context.index_select(0, rows)
