"""Variance maps of prepared recordings by any of the ways there are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.data.store.record_store import SAMPLE_RATE
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.options import require
from cmelt_plugin.evaluation.variance_map.methods import FILLS, LEAD, TOKENS, ZERO
from cmelt_plugin.evaluation.variance_map.occlusion import occlusion_map
from cmelt_plugin.models.base import TokenUncertainty
from cmelt_plugin.models.inference.pretrained import Pretrained


class MapSettings(NamedTuple):
    """How a variance map is made.

    Attributes:
        method: ``lead`` and ``window``: by hiding windows of each lead or of all; ``tokens``: by the model itself, at once.
        window, hop: s.
        fill: what stands in a hidden window.
        batch_size: recordings at a time.
    """

    method: str = LEAD
    window: float = 1.0
    hop: float = 0.25
    fill: str = ZERO
    batch_size: int = 16

    @property
    def meaning(self) -> str:
        """What the numbers of the map are, in words."""
        if self.method == TOKENS:
            return "what each part in time adds to the uncertainty"
        where = "of the lead" if self.method == LEAD else "in all leads"
        return f"uncertainty less that without {self.window:g} s {where}"


def check_maps(pretrained: Pretrained, settings: MapSettings) -> None:
    """Refuse what a model cannot do.

    Raises:
        DataError: it has no tokens, or window or hop are shorter than a sample.
    """
    if settings.method == TOKENS:
        require(pretrained, TokenUncertainty, "say what its parts add to the uncertainty")
    if min(settings.window, settings.hop) * SAMPLE_RATE < 1 or settings.fill not in FILLS:
        raise DataError(f"windows of {settings.window:g} s every {settings.hop:g} s: must be a sample long at least")


@torch.inference_mode()
def variance_map(pretrained: Pretrained, ecg: np.ndarray, settings: MapSettings, progress: bool = False) -> np.ndarray:
    """The map of one recording.

    Args:
        pretrained: a model of Gaussian embeddings.
        ecg: ``[12, T]`` mV at 500 Hz, without padding.
        settings: how.
        progress: show a bar on stderr.

    Returns:
        float32 ``[12, T]``, in units of the uncertainty; positive where the recording adds to it.
    """
    recording = torch.from_numpy(np.array(ecg, dtype=np.float32))
    n_samples, whole = recording.shape[1], pretrained.model.signal.n_samples

    def padded(batch: Tensor) -> tuple[Tensor, Tensor | None]:
        lengths = None if n_samples == whole else torch.full((len(batch),), n_samples, device=pretrained.device)
        return torch.nn.functional.pad(batch, (0, whole - n_samples)).to(pretrained.device), lengths

    if settings.method == TOKENS:
        tokens = pretrained.model.uncertainty_tokens(*padded(recording[None]))[0].cpu().numpy()
        places = np.minimum(np.arange(n_samples) // pretrained.model.samples_per_token, len(tokens) - 1)
        return np.broadcast_to(tokens[places], recording.shape).astype(np.float32)
    window, hop = (max(1, round(seconds * SAMPLE_RATE)) for seconds in (settings.window, settings.hop))
    return occlusion_map(
        lambda batch: pretrained.model.embed_ecg(*padded(batch)).uncertainty(),
        recording,
        min(window, n_samples),
        hop,
        settings.fill,
        settings.method == LEAD,
        settings.batch_size,
        progress,
    )
