"""MERL's two kinds of ECG tower: encoder, projection, and the feature that both views of an ECG are made of."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.merl.config import MERLConfig
from cmelt_plugin.modules.attention_pool import AttentionPool
from cmelt_plugin.modules.length_batch_norm import LengthBatchNorm
from cmelt_plugin.modules.pooling import masked_mean
from cmelt_plugin.modules.resnet1d import ResNet1d
from cmelt_plugin.modules.vit1d import VIT_SIZES, ViT1d

N_SAMPLES = 5000  # 10 s at 500 Hz
RESNET18_WIDTH = 64
ENCODERS = ("resnet18", *(f"vit_{size}" for size in VIT_SIZES))


class ECGTowerOutput(NamedTuple):
    """
    Attributes:
        projected: ``[B, E]`` before L2 normalisation, to be compared with texts.
        view_input: ``[B, V]`` what the two views are projections of.
    """

    projected: Tensor
    view_input: Tensor


class ResNetTower(nn.Module):
    """ResNet-18 → 1×1 convolution → attention pool; the views read the mean over time of the convolution."""

    def __init__(self, cfg: MERLConfig, n_leads: int):
        super().__init__()
        self.encoder = ResNet1d(n_leads, cfg.ecg_width or RESNET18_WIDTH, recompute=cfg.checkpoint_activations)
        self.conv = nn.Conv1d(self.encoder.dim, cfg.embed_dim, 1)
        n_steps = self.encoder.n_tokens(N_SAMPLES)
        self.pool = AttentionPool(cfg.embed_dim, cfg.embed_dim, n_steps, cfg.attention_pool_heads)
        self.view_dim = cfg.embed_dim

    def states(self, ecg: Tensor, n_samples: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Features as states ``[B, N, D]``, and which are padding ``[B, N]`` (None: none is)."""
        features, n_steps = self.encoder(ecg, n_samples)
        if n_steps is None:
            return features.transpose(1, 2), None
        padding = torch.arange(features.shape[-1], device=ecg.device) >= n_steps[:, None]
        return features.transpose(1, 2), padding

    def features(self, ecg: Tensor, n_samples: Tensor | None = None) -> Tensor:
        """Mean of the encoder's features over real steps: ``[B, D]``."""
        return masked_mean(*self.states(ecg, n_samples))

    def forward(self, ecg: Tensor, n_samples: Tensor | None = None) -> ECGTowerOutput:
        states, padding = self.states(ecg, n_samples)
        states = self.conv(states.transpose(1, 2)).transpose(1, 2)
        return ECGTowerOutput(self.pool(states, padding), masked_mean(states, padding))

    def layers(self) -> list[nn.Module]:
        return list(self.encoder.blocks())


class ViTTower(nn.Module):
    """ViT → linear, batch norm, ReLU, linear, batch norm; the views read the ViT's pooled feature."""

    def __init__(self, cfg: MERLConfig, n_leads: int):
        super().__init__()
        size = VIT_SIZES[cfg.ecg_encoder[len("vit_") :]]
        self.encoder = ViT1d(
            n_leads,
            cfg.ecg_width or size.width,
            cfg.ecg_layers or size.layers,
            cfg.ecg_heads or size.heads,
            dropout=cfg.dropout,
            attention_dropout=cfg.attention_dropout,
            recompute=cfg.checkpoint_activations,
        )
        self.hidden = nn.Linear(self.encoder.dim, cfg.projection_dim)
        self.hidden_norm = LengthBatchNorm(cfg.projection_dim)
        self.out = nn.Linear(cfg.projection_dim, cfg.embed_dim)
        self.out_norm = LengthBatchNorm(cfg.embed_dim)
        self.view_dim = self.encoder.dim

    def features(self, ecg: Tensor, n_samples: Tensor | None = None) -> Tensor:
        """``[B, D]``."""
        return self.encoder(ecg, n_samples)

    def forward(self, ecg: Tensor, n_samples: Tensor | None = None) -> ECGTowerOutput:
        features = self.encoder(ecg, n_samples)
        counted = None if n_samples is None else (n_samples > 0).long()  # one step a record
        hidden = self.hidden_norm(self.hidden(features), counted).relu()
        return ECGTowerOutput(self.out_norm(self.out(hidden), counted), features)

    def layers(self) -> list[nn.Module]:
        return list(self.encoder.layers)


def build_tower(cfg: MERLConfig, n_leads: int) -> ResNetTower | ViTTower:
    """The tower of ``cfg.ecg_encoder``.

    Raises:
        DataError: there is no encoder of that name.
    """
    if cfg.ecg_encoder not in ENCODERS:
        raise DataError(f"ecg_encoder must be one of {', '.join(ENCODERS)}, not {cfg.ecg_encoder!r}")
    return (ResNetTower if cfg.ecg_encoder == "resnet18" else ViTTower)(cfg, n_leads)
