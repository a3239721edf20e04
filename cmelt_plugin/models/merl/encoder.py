"""MERL's ECG encoder without what projects it: the part that probes read and classifiers are put on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.signal_contract import SignalContract
from cmelt_plugin.models.merl.config import MERLConfig
from cmelt_plugin.models.merl.towers import RESNET18_WIDTH, build_tower
from cmelt_plugin.modules.normalisation import normalise_ecg
from cmelt_plugin.modules.vit1d import VIT_SIZES

TOWER = "ecg_tower.encoder."  # with which the names of its weights begin in a whole model
ALONE = "tower.encoder."  # and here


class MERLEncoder(nn.Module):
    """ECG in mV → the encoder's pooled feature, ``[B, width]``.

    Args:
        cfg: anything with the settings that :class:`MERLConfig` names as the encoder's.
    """

    def __init__(self, cfg: Any):
        super().__init__()
        values = {name: getattr(cfg, name) for name in (*MERLConfig.encoder_sizes, *MERLConfig.encoder_training)}
        self.tower = build_tower(MERLConfig(**values), len(LEADS))
        for name in [name for name, _ in self.tower.named_children() if name != "encoder"]:
            delattr(self.tower, name)
        self.width: int = self.tower.encoder.dim
        self.normalisation = cfg.normalisation
        self.signal = SignalContract(normalisation=cfg.normalisation)

    def features(self, ecg: Tensor, n_samples: Tensor | None = None, pool: str = "mean") -> Tensor:
        """``ecg [B, 12, T]`` mV → ``[B, width]``; ``n_samples [B]`` real samples, None: none is padded."""
        return self.tower.features(normalise_ecg(ecg, n_samples, self.normalisation), n_samples)

    def layers(self) -> list[nn.Module]:
        """From input to output."""
        return self.tower.layers()


def encoder_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the weights of a whole MERL those of :class:`MERLEncoder`, under its names."""
    return {ALONE + name[len(TOWER) :]: tensor for name, tensor in state.items() if name.startswith(TOWER)}


def resolved_sizes(cfg: Any) -> dict[str, int]:
    """Width, layers and heads as ``ecg_encoder`` says where the configuration does not; 0: the encoder has no such number."""
    size = VIT_SIZES.get(str(cfg.ecg_encoder)[len("vit_") :])
    width, layers, heads = (RESNET18_WIDTH, 0, 0) if size is None else (size.width, size.layers, size.heads)
    return {"ecg_width": cfg.ecg_width or width, "ecg_layers": cfg.ecg_layers or layers, "ecg_heads": cfg.ecg_heads or heads}
