"""MERL with the ResNet-18 of its authors' release and a frozen BERT-base (MedCPT is one), or tiny."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.harness.system import BenchmarkedSystem, Losses
from benchmarks.systems.merl.naive import Mode, NaiveMERL

BERT_BASE = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
TINY_BERT = {
    "vocab_size": 160,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
MODES = {"texts as long as they are": Mode(fixed_length=False)}


class BenchmarkedMERL(BenchmarkedSystem):
    """See :mod:`benchmarks.systems.merl.naive` for the naive way."""

    name = "merl"
    parts = ("ecg_tower", "text_encoder", "text_projection")
    variants = tuple(MODES)
    criterion_settings = {"duplicates": "negative"}
    quick_overrides = ("model.ecg_width=4", "model.embed_dim=16", "model.projection_dim=16")

    def settings(self, tiny: bool) -> dict[str, Any]:
        text = {"model_type": "bert", **(TINY_BERT if tiny else BERT_BASE)}
        sizes = {"ecg_width": 4, "embed_dim": 16, "projection_dim": 16} if tiny else {}
        return {"text_encoder_pretrained": False, "text_encoder_config": json.dumps(text), **sizes}

    def naive(self, model: Any, variant: str | None = None, dropout: bool = True) -> Losses:
        mode = Mode() if variant is None else MODES[variant]
        return NaiveMERL(model, mode._replace(dropout=dropout)).losses


SYSTEM = BenchmarkedMERL()
