"""The ECG encoder computes what fairseq-signals' own wav2vec 2.0 + CMSC model computes from the same weights."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

from cmelt_plugin import host
from cmelt_plugin.models.common.ecg_init import load_ecg_encoder
from cmelt_plugin.modules.ecg.ecg_encoder import ECGEncoder

pytestmark = pytest.mark.skipif(not host.IS_SIGNALS, reason="needs fairseq-signals, whose model is the reference")

CONV = [(16, 2, 2)] * 4
SIZES = {
    "encoder_embed_dim": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_embed_dim": 64,
    "conv_pos": 8,
    "conv_pos_groups": 2,
    "conv_feature_layers": "[(16, 2, 2)] * 4",
    "in_d": 12,
    "final_dim": 8,
    "quantize_targets": True,
    "latent_vars": 20,
    "latent_dim": 8,
}


def test_states_equal_those_of_the_hosts_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wav2vec = importlib.import_module("fairseq_signals.models.wav2vec2.wav2vec2_cmsc")
    cfg = wav2vec.Wav2Vec2CMSCConfig()
    for name, value in SIZES.items():
        setattr(cfg, name, value)
    theirs = wav2vec.Wav2Vec2CMSCModel(cfg).eval()
    torch.save({"model": theirs.state_dict()}, tmp_path / "w2v.pt")
    ours = ECGEncoder(
        host.ecg_feature_extractor(CONV, 12), CONV, dim=32, layers=2, heads=2, ffn_dim=64, conv_pos=8, conv_pos_groups=2
    ).eval()
    assert not any(load_ecg_encoder(ours, str(tmp_path / "w2v.pt")))
    ecg = torch.randn(2, 12, 320)
    states, _ = ours.embed(ecg)  # without the CLS token, which wav2vec does not have
    expected = theirs(source=ecg, features_only=True, mask=False)["x"]
    torch.testing.assert_close(ours.encoder(states), expected)
