"""MERL's ECG side: what is done with its ECG tower, in the whole model and alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.signal_contract import SignalContract
from cmelt_plugin.models.base import CosineSimilarity, Embedding
from cmelt_plugin.models.common.uncertainty_options import uncertainty_heads
from cmelt_plugin.models.merl.towers import (
    ECGEncoder,
    ECGTowerOutput,
    ResNetTower,
    ViTTower,
    build_tower,
    layers_of,
    pooled,
    resolved_sizes,
)
from cmelt_plugin.modules.contrast import unit
from cmelt_plugin.modules.ecg.normalisation import normalise_ecg
from cmelt_plugin.modules.uncertainty import UncertaintyHeads


class MERLSide(CosineSimilarity):
    """Base of modules with ``cfg``, ``ecg_tower`` and ``uncertainty`` (None: points)."""

    pools = ("mean",)
    cfg: Any
    ecg_tower: ResNetTower | ViTTower
    uncertainty: UncertaintyHeads | None

    @classmethod
    def build_encoder(cls, cfg: Any, conv_stack: Any = None, n_leads: int = len(LEADS)) -> ECGEncoder:
        """The ECG encoder alone, with random weights; ``conv_stack`` is for encoders that begin with a host's convolutions."""
        return ECGEncoder(cfg, n_leads)

    @staticmethod
    def encoder_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of the weights of a whole model those of :meth:`build_encoder`, under its names."""
        tower = "ecg_tower."
        return {name[len(tower) :]: tensor for name, tensor in state.items() if name.startswith(f"{tower}encoder.")}

    @staticmethod
    def resolved_sizes(cfg: Any) -> dict[str, int]:
        """Sizes of the encoder that ``cfg`` leaves to its name."""
        return resolved_sizes(cfg)

    @property
    def signal(self) -> SignalContract:
        """The ECGs it was trained on, and what it does to them."""
        return SignalContract(normalisation=self.cfg.normalisation)

    def layers(self) -> list[nn.Module]:
        """Layers of the ECG encoder, first to last."""
        return layers_of(self.ecg_tower.encoder)

    def ecg_features(self, ecg: Tensor, n_samples: Tensor | None = None, pool: str | None = None) -> Tensor:
        """What linear probes are trained on: ``ecg [B, 12, T]`` mV → ``[B, D]`` float32, the encoder's pooled feature (512 for
        ResNet-18), before any projection.

        Raises:
            ValueError: another ``pool`` than ``mean``.
        """
        if pool is not None and pool not in self.pools:
            raise ValueError(f"pool must be one of {', '.join(self.pools)}, not {pool!r}")
        return pooled(self.ecg_tower.encoder, self._normalised(ecg, n_samples), n_samples).float()

    def embed_ecg(self, ecg: Tensor, n_samples: Tensor | None = None) -> Embedding:
        """``ecg [B, 12, T]`` mV → ``[B, E]`` float32, unit norm; Gaussians where it was trained for uncertainties."""
        return self._embedded(self._read(ecg, n_samples))

    def _read(self, ecg: Tensor, n_samples: Tensor | None) -> ECGTowerOutput:
        token = None if self.uncertainty is None else self.uncertainty.ecg_token
        return self.ecg_tower(self._normalised(ecg, n_samples), n_samples, token)

    def _embedded(self, tower: ECGTowerOutput) -> Embedding:
        mean = unit(tower.projected)
        if self.uncertainty is None:
            return Embedding(mean)
        return Embedding(mean, self.uncertainty.ecg_log_variance(tower.states, tower.padding_mask, tower.uncertainty))

    def _normalised(self, ecg: Tensor, n_samples: Tensor | None) -> Tensor:
        return normalise_ecg(ecg, n_samples, self.cfg.normalisation)


class MERLEncoder(MERLSide, nn.Module):
    """The ECG tower alone, with random weights.

    Args:
        cfg: a ``MERLConfig``.
    """

    def __init__(self, cfg: Any):
        super().__init__()
        self.cfg = cfg
        self.ecg_tower = build_tower(cfg, len(LEADS))
        self.uncertainty = variances(cfg, self.ecg_tower)


def variances(cfg: Any, tower: ResNetTower | ViTTower, text_width: int | None = None) -> UncertaintyHeads | None:
    """The variances that a ``MERLConfig`` asks for, or None; without the width of a text's states those of ECGs alone."""
    token = tower.view_dim if isinstance(tower, ResNetTower) else None
    return uncertainty_heads(cfg, cfg.embed_dim, ecg_width=tower.view_dim, text_width=text_width, ecg_token=token)
