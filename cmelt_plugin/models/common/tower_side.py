"""What systems have in common whose ECG half is a tower: an encoder, and the head on its states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from cmelt_plugin.data.signal_contract import SignalContract
from cmelt_plugin.models.base import CosineSimilarity

TOWER = "ecg_tower."  # with which the names of the tower's weights begin


class ECGStates(NamedTuple):
    """What a tower makes of ECGs.

    Attributes:
        states: ``[B, N, W]``, of N steps in time.
        padding_mask: ``[B, N]`` bool, True = padding; None: no record is padded.
    """

    states: Tensor
    padding_mask: Tensor | None


class TowerSide(CosineSimilarity):
    """Base of modules with ``cfg`` and ``ecg_tower``, which has ``signal``, ``samples_per_token``, ``layers()`` and
    ``features(ecg, n_samples, pool)``.
    """

    pools: tuple[str, ...]
    cfg: Any
    ecg_tower: Any

    @staticmethod
    def encoder_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of the weights of a whole model those of the tower, under its names."""
        return {name[len(TOWER) :]: tensor for name, tensor in state.items() if name.startswith(TOWER)}

    @property
    def signal(self) -> SignalContract:
        """The ECGs it was trained on, and what it does to them."""
        return self.ecg_tower.signal

    @property
    def samples_per_token(self) -> int:
        """Samples from one step in time to the next, of those that states, attention and variances of tokens speak of."""
        return self.ecg_tower.samples_per_token

    def layers(self) -> list[nn.Module]:
        """Layers of the tower, first to last."""
        return self.ecg_tower.layers()

    def ecg_features(self, ecg: Tensor, n_samples: Tensor | None = None, pool: str | None = None) -> Tensor:
        """What linear probes are trained on: ``ecg [B, 12, T]`` mV → ``[B, width]`` float32, as the tower's ``features``.

        Raises:
            ValueError: another ``pool`` than those of :attr:`pools`.
        """
        return self.ecg_tower.features(ecg, n_samples, pool or self.pools[0]).float()
