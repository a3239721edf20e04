"""MERL's two kinds of ECG tower: encoder, projection, and the feature that both views of an ECG are made of."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from cmelt_plugin.data.signal_contract import SignalContract
from cmelt_plugin.data.store.record_store import SAMPLE_RATE
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.merl.config import MERLConfig
from cmelt_plugin.modules.ecg.length_batch_norm import LengthBatchNorm
from cmelt_plugin.modules.ecg.normalisation import normalise_ecg
from cmelt_plugin.modules.ecg.resnet1d import ResNet1d
from cmelt_plugin.modules.ecg.vit1d import VIT_SIZES, ViT1d
from cmelt_plugin.modules.pooling.single_query import AttentionPool
from cmelt_plugin.modules.pooling.tokens import masked_mean

N_SAMPLES = 5000  # 10 s at 500 Hz
RESNET18_WIDTH = 64
RATES = (500, 250, 100)  # Hz
ENCODERS = ("resnet18", *(f"vit_{size}" for size in VIT_SIZES))


class ECGTowerOutput(NamedTuple):
    """
    Attributes:
        projected: ``[B, E]`` before L2 normalisation, to be compared with texts.
        view_input: ``[B, V]`` what the two views are projections of.
        states: ``[B, N, V]`` that both are made of.
        padding_mask: ``[B, N]`` bool, True = padding; None: no record is padded.
        uncertainty: ``[B, V]`` what the uncertainty token read; without one the pooled feature of a ViT, None of a ResNet.
    """

    projected: Tensor
    view_input: Tensor
    states: Tensor
    padding_mask: Tensor | None
    uncertainty: Tensor | None


def build_encoder(cfg: Any, n_leads: int) -> ResNet1d | ViT1d:
    """The ECG encoder of ``cfg.ecg_encoder``; of ``cfg`` those settings are read that ``MERLConfig`` names as the encoder's.

    Raises:
        DataError: there is no encoder of that name, or it does not read at that rate.
    """
    if cfg.ecg_rate not in RATES or (cfg.ecg_rate != SAMPLE_RATE and cfg.ecg_encoder != "resnet18"):
        raise DataError(f"ecg_rate must be one of {', '.join(map(str, RATES))} with resnet18, else {SAMPLE_RATE}")
    if cfg.ecg_encoder not in ENCODERS:
        raise DataError(f"ecg_encoder must be one of {', '.join(ENCODERS)}, not {cfg.ecg_encoder!r}")
    sizes, recompute = resolved_sizes(cfg), getattr(cfg, "checkpoint_activations", False)
    if cfg.ecg_encoder == "resnet18":
        return ResNet1d(n_leads, sizes["ecg_width"], recompute=recompute, decimation=SAMPLE_RATE // cfg.ecg_rate)
    return ViT1d(
        n_leads,
        sizes["ecg_width"],
        sizes["ecg_layers"],
        sizes["ecg_heads"],
        dropout=cfg.dropout,
        attention_dropout=cfg.attention_dropout,
        recompute=recompute,
    )


def resolved_sizes(cfg: Any) -> dict[str, int]:
    """Sizes of an ECG encoder where settings leave them to its name. A ResNet has no layers and heads to set: 0."""
    if cfg.ecg_encoder == "resnet18":
        return {"ecg_width": cfg.ecg_width or RESNET18_WIDTH, "ecg_layers": 0, "ecg_heads": 0}
    size = VIT_SIZES[cfg.ecg_encoder[len("vit_") :]]
    return {
        "ecg_width": cfg.ecg_width or size.width,
        "ecg_layers": cfg.ecg_layers or size.layers,
        "ecg_heads": cfg.ecg_heads or size.heads,
    }


def pooled(encoder: ResNet1d | ViT1d, ecg: Tensor, n_samples: Tensor | None) -> Tensor:
    """What probes and classifiers read, ``[B, D]``: a ResNet's mean over real steps, or the ViT's own pooled feature."""
    return masked_mean(*encoder.states(ecg, n_samples)) if isinstance(encoder, ResNet1d) else encoder(ecg, n_samples)


class ECGEncoder(nn.Module):
    """The ECG encoder alone, with what it does to amplitudes: what a classifier is put on."""

    def __init__(self, cfg: Any, n_leads: int):
        super().__init__()
        self.normalisation: str = cfg.normalisation
        self.encoder = build_encoder(cfg, n_leads)
        self.width = self.encoder.dim
        self.signal = SignalContract(normalisation=cfg.normalisation)

    def features(self, ecg: Tensor, n_samples: Tensor | None = None, pool: str = "mean") -> Tensor:
        """``ecg [B, 12, T]`` mV → ``[B, width]``; ``mean`` is the only pool."""
        return pooled(self.encoder, normalise_ecg(ecg, n_samples, self.normalisation), n_samples)

    def layers(self) -> list[nn.Module]:
        return layers_of(self.encoder)


def layers_of(encoder: ResNet1d | ViT1d) -> list[nn.Module]:
    """Layers of an encoder, from input to output."""
    return list(encoder.blocks() if isinstance(encoder, ResNet1d) else encoder.layers)


class ResNetTower(nn.Module):
    """ResNet-18 → 1×1 convolution → attention pool; the views read the mean over time of the convolution."""

    def __init__(self, cfg: MERLConfig, n_leads: int):
        super().__init__()
        encoder = build_encoder(cfg, n_leads)
        assert isinstance(encoder, ResNet1d)
        self.encoder = encoder
        self.conv = nn.Conv1d(self.encoder.dim, cfg.embed_dim, 1)
        n_steps = self.encoder.n_tokens(N_SAMPLES)
        self.pool = AttentionPool(cfg.embed_dim, cfg.embed_dim, n_steps, cfg.attention_pool_heads)
        self.view_dim = cfg.embed_dim

    def forward(self, ecg: Tensor, n_samples: Tensor | None = None, token: Tensor | None = None) -> ECGTowerOutput:
        """``ecg [B, 12, T]``; ``n_samples [B]`` real samples, None: all; ``token [V]``, an uncertainty token of the pool."""
        found, padding = self.encoder.states(ecg, n_samples)
        found = self.conv(found.transpose(1, 2)).transpose(1, 2)
        uncertainty = None
        if token is None:
            projected = self.pool(found, padding)
        else:
            projected, uncertainty = self.pool.with_query(found, padding, token)
        return ECGTowerOutput(projected, masked_mean(found, padding), found, padding, uncertainty)


class ViTTower(nn.Module):
    """ViT → linear, batch norm, ReLU, linear, batch norm; the views read the ViT's pooled feature."""

    def __init__(self, cfg: MERLConfig, n_leads: int):
        super().__init__()
        encoder = build_encoder(cfg, n_leads)
        assert isinstance(encoder, ViT1d)
        self.encoder = encoder
        self.hidden = nn.Linear(self.encoder.dim, cfg.projection_dim)
        self.hidden_norm = LengthBatchNorm(cfg.projection_dim)
        self.out = nn.Linear(cfg.projection_dim, cfg.embed_dim)
        self.out_norm = LengthBatchNorm(cfg.embed_dim)
        self.view_dim = self.encoder.dim

    def forward(self, ecg: Tensor, n_samples: Tensor | None = None, token: Tensor | None = None) -> ECGTowerOutput:
        """``ecg [B, 12, T]``; ``n_samples [B]`` real samples, None: all; ``token``: it has no place for one."""
        features, states, padding = self.encoder.read(ecg, n_samples)
        counted = None if n_samples is None else (n_samples > 0).long()  # one step a record
        hidden = self.hidden_norm(self.hidden(features), counted).relu()
        return ECGTowerOutput(self.out_norm(self.out(hidden), counted), features, states, padding, features)


def build_tower(cfg: MERLConfig, n_leads: int) -> ResNetTower | ViTTower:
    """The tower of ``cfg.ecg_encoder``. Raises DataError as :func:`build_encoder`."""
    return (ResNetTower if cfg.ecg_encoder == "resnet18" else ViTTower)(cfg, n_leads)
