"""C-MELT at the sizes of the paper, or tiny."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.harness.system import BenchmarkedSystem, Losses, draw_padding
from benchmarks.naive.attention import Mode
from benchmarks.systems.cmelt.collation import CollationPair
from benchmarks.systems.cmelt.flops import training_flops
from benchmarks.systems.cmelt.naive import NaiveCMELT
from cmelt_plugin.data.text.word_masking import WordMasker
from cmelt_plugin.models.cmelt.inputs import CMELTInputOptions, CMELTInputs
from cmelt_plugin.modules.text.real_tokens import RealTokens

N_ECG_TOKENS = 312  # of 10 s at 500 Hz
N_LEADS = 12

# Flan-T5-base's encoder; of 32,128 rows 32,100 are tokens, the last 100 of them <extra_id_99> … <extra_id_0>.
PAPER_TEXT = {"vocab_size": 32128, "d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12}
TINY_TEXT = {"vocab_size": 160, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
N_SENTINELS = 100
TINY: dict[str, Any] = {
    "conv_feature_layers": "[(16, 2, 2)] * 4",
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "encoder_embed_dim": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_embed_dim": 64,
    "fusion_dim": 32,
    "fusion_layers": 2,
    "fusion_heads": 4,
    "fusion_ffn_dim": 64,
    "mem_layer": 1,
    "mem_decoder_dim": 16,
    "mem_decoder_layers": 1,
    "mem_decoder_heads": 2,
}
MODES = {
    "masked vocabulary": Mode(full_vocabulary=False),
    "fused attention": Mode(eager=False),
}


class BenchmarkedCMELT(BenchmarkedSystem):
    """See :mod:`benchmarks.systems.cmelt.naive` for the naive way."""

    name = "cmelt"
    parts = ("ecg_encoder", "text_encoder", "fusion", "mlm_head", "mem_head")
    variants = tuple(MODES)
    quick_overrides = (
        "model.conv_feature_layers='[(8, 10, 5), (8, 4, 4), (16, 2, 2)]'",
        *("model.encoder_embed_dim=32", "model.encoder_layers=1", "model.encoder_ffn_embed_dim=32", "model.conv_pos_groups=4"),
        *("model.fusion_dim=32", "model.fusion_ffn_dim=32", "model.mem_decoder_dim=16"),
    )

    def settings(self, tiny: bool) -> dict[str, Any]:
        sizes = TINY_TEXT if tiny else PAPER_TEXT
        text = {"model_type": "t5", "feed_forward_proj": "gated-gelu", "dropout_rate": 0.1, **sizes}
        return {"text_encoder_pretrained": False, "text_encoder_config": json.dumps(text), **(TINY if tiny else {})}

    def naive(self, model: Any, variant: str | None = None, dropout: bool = True) -> Losses:
        mode = Mode() if variant is None else MODES[variant]
        return NaiveCMELT(model, mode._replace(dropout=dropout)).losses

    def training_flops(self, cfg: Any, rows: int, length: int, n_masked: int) -> float:
        return training_flops(cfg, rows, length, n_masked)

    def flops_of(self, model: Any, sample: dict[str, Any]) -> float | None:
        """Linear layers compute the real tokens of texts alone where :class:`RealTokens` says so."""
        rows, length = sample["net_input"]["text"].shape
        real = RealTokens.of(sample["net_input"]["text_padding_mask"], model.cfg.fusion_dim)
        return training_flops(model.cfg, rows, length, len(sample["mlm_target"]), None if real is None else len(real.rows))

    def collation(self, folder: Path, n_records: int, n_reports: int, encoder: str) -> CollationPair:
        return CollationPair(self, folder, n_records, n_reports, encoder)

    def inputs(self, prepared: bool = True) -> CMELTInputs:
        """Where directories hold no negatives, they are drawn at random."""
        options = CMELTInputOptions(negatives="n3s" if prepared else "random")
        return CMELTInputs(options, SimpleNamespace(n_ecg_tokens=N_ECG_TOKENS))

    def draw_batch(self, model: Any, rows: int, length: int, rng: np.random.Generator) -> dict[str, Any]:
        """Half of the texts are swapped, a quarter of the words masked."""
        vocab_size = model.vocab_size
        tokens = vocab_size - 28 if vocab_size == PAPER_TEXT["vocab_size"] else vocab_size
        special = [0, 1, 2, *range(tokens - N_SENTINELS, vocab_size)]
        padding = draw_padding(rows, length, rng)
        ids = rng.integers(3, tokens - N_SENTINELS, (rows, length))
        ids[np.arange(rows), (~padding).sum(axis=1) - 1] = 1
        ids[padding] = 0
        text = WordMasker(0.25, tokens - 1, vocab_size, special)(ids, padding, rng.random((3, rows, length)))
        lead_mask = rng.random((rows, N_LEADS)) < 0.5
        lead_mask[lead_mask.all(axis=1), 0] = False
        report = rng.integers(0, max(2, 4 * rows), rows)
        aligned = np.ones(rows, dtype=bool)
        aligned[rng.permutation(rows)[: rows // 2]] = False
        return {
            "id": torch.arange(rows),
            "net_input": {
                "ecg": torch.from_numpy(rng.standard_normal((rows, N_LEADS, 5000), dtype=np.float32)),
                "n_samples": None,
                "lead_mask": torch.from_numpy(lead_mask),
                "text": torch.from_numpy(text.ids),
                "text_padding_mask": torch.from_numpy(padding),
                "mlm_mask": torch.from_numpy(text.mask),
                "mem_noise": torch.from_numpy(rng.integers(0, 2**31, (rows, model.n_ecg_tokens))),
            },
            "ntokens": int((~padding).sum()),
            "mlm_target": torch.from_numpy(text.target),
            "aligned": torch.from_numpy(aligned),
            "report_id": torch.from_numpy(report),
            "text_report_id": torch.from_numpy(np.where(aligned, report, report + 1)),
        }


SYSTEM = BenchmarkedCMELT()
