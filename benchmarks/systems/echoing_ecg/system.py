"""EchoingECG with the residual network of the reference and a text encoder of BERT-base's size (BioBERT is one), or tiny."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import REPOSITORY
from benchmarks.harness.system import BenchmarkedSystem

BIOBERT = {
    "vocab_size": 28996,
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


class BenchmarkedEchoing(BenchmarkedSystem):
    """Training code was never released: there is no naive way of its step."""

    name = "echoing_ecg"
    parts = ("ecg_tower", "text_encoder")
    quick_overrides = ("model.ecg_width=4", "model.embed_dim=16")

    @property
    def configuration(self) -> Path:
        return REPOSITORY / "examples" / "pretrain" / "echoing_base.yaml"

    def settings(self, tiny: bool) -> dict[str, Any]:
        text = {"model_type": "bert", **(TINY_BERT if tiny else BIOBERT)}
        sizes = {"ecg_width": 4, "ecg_blocks": "1, 1, 1, 1", "embed_dim": 16} if tiny else {}
        return {"text_encoder_pretrained": False, "text_encoder_config": json.dumps(text), **sizes}


SYSTEM = BenchmarkedEchoing()
