"""MELP at the sizes of the paper, or tiny."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from benchmarks.harness.system import BenchmarkedSystem, Losses
from benchmarks.systems.melp.flops import training_flops
from benchmarks.systems.melp.naive import Mode, NaiveMELP
from cmelt_plugin.modules.text.real_tokens import RealTokens

# The release's BERT-base of PubMed's vocabulary, to which it adds [BOS] as the last token; [CLS] is 101 and [SEP] 102.
PAPER_TEXT = {
    "vocab_size": 30523,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
PAPER_TOKENS = {"begin_token": 30522, "end_token": 102, "summary_token": 101}
TINY_TEXT = {
    "vocab_size": 160,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
TINY: dict[str, Any] = {
    "conv_feature_layers": "[(16, 2, 2)] * 4",
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "encoder_embed_dim": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_embed_dim": 64,
    "embed_dim": 16,
    "n_queries": 5,
    "pool_heads": 4,
    "n_caption_queries": 7,
    "projection_dim": 24,
    "decoder_layers": 2,
    "decoder_heads": 4,
    "text_free_layers": 1,
    "begin_token": 3,
    "end_token": 2,
    "summary_token": 1,
}
MODES = {
    "texts as long as they are": Mode(fixed_length=False),
    "no language head": Mode(language_head=False),
    "frozen embeddings": Mode(trained_embeddings=False),
    "reports all at once": Mode(text_by_text=False),
}
SENTENCE = (3, 10)
"""Tokens of a sentence, from and below."""


class BenchmarkedMELP(BenchmarkedSystem):
    """See :mod:`benchmarks.systems.melp.naive` for the naive way."""

    name = "melp"
    parts = ("ecg_tower", "caption_pool", "text_encoder", "decoder")
    variants = tuple(MODES)
    quick_overrides = (
        "model.conv_feature_layers='[(8, 10, 5), (8, 4, 4), (16, 2, 2)]'",
        *("model.encoder_embed_dim=32", "model.encoder_layers=1", "model.encoder_ffn_embed_dim=32", "model.conv_pos_groups=4"),
        *("model.embed_dim=16", "model.projection_dim=16", "model.n_caption_queries=4", "model.decoder_layers=1"),
    )
    criterion_settings = {"local": "gloria", "duplicates": "negative"}
    forms = {"beat": {"local": "beat", "duplicates": "ignore"}}

    def settings(self, tiny: bool) -> dict[str, Any]:
        text = {"model_type": "bert", **(TINY_TEXT if tiny else PAPER_TEXT)}
        sizes = TINY if tiny else PAPER_TOKENS
        return {"text_encoder_pretrained": False, "text_encoder_config": json.dumps(text), **sizes}

    def naive(self, model: Any, variant: str | None = None, dropout: bool = True) -> Losses:
        mode = Mode() if variant is None else MODES[variant]
        return NaiveMELP(model, mode._replace(dropout=dropout)).losses

    def training_flops(self, cfg: Any, rows: int, length: int, n_masked: int) -> float:
        return training_flops(cfg, rows, length)

    def flops_of(self, model: Any, sample: dict[str, Any]) -> float | None:
        """Linear layers compute the real tokens of texts alone where :class:`RealTokens` says so."""
        rows, length = sample["net_input"]["text"].shape
        real = RealTokens.of(sample["net_input"]["text_padding_mask"], model.text_encoder.dim)
        return training_flops(model.cfg, rows, length, None if real is None else len(real.rows))

    def draw_batch(self, model: Any, rows: int, length: int, rng: np.random.Generator) -> dict[str, Any]:
        """Half of the leads are masked; the words of a text are sentences of a few tokens each."""
        batch = super().draw_batch(model, rows, length, rng)
        inputs, tokens = batch["net_input"], model.layout.tokens
        n_text = (~inputs["text_padding_mask"]).sum(dim=1)
        inputs["text"][:, 0] = tokens.summary  # BERT's [CLS]
        inputs["text"].scatter_(1, n_text[:, None] - 1, tokens.end)
        texts = [draw_sentences(int(n), rng) for n in n_text]
        counts = torch.tensor([len(spans) for spans in texts])
        lead_mask = rng.random((rows, inputs["ecg"].shape[1])) < 0.5
        lead_mask[lead_mask.all(axis=1), 0] = False
        inputs["lead_mask"] = torch.from_numpy(lead_mask)
        inputs["sentence_spans"] = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
        inputs["sentence_padding_mask"] = torch.arange(int(counts.max())) >= counts[:, None]
        batch["max_sentences"] = int(counts.max())
        return batch


def draw_sentences(n_tokens: int, rng: np.random.Generator) -> torch.Tensor:
    """First token and end of each sentence of a text of so many tokens, [CLS] and [SEP] among them; int64 ``[S, 2]``."""
    ends = np.cumsum(rng.integers(*SENTENCE, n_tokens)) + 1
    ends = np.append(ends[ends < n_tokens - 1], n_tokens - 1)
    return torch.from_numpy(np.stack([np.append(1, ends[:-1]), ends], axis=1))


SYSTEM = BenchmarkedMELP()
