"""What models that consist of a published ECG encoder alone have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Callable

import numpy as np
import torch
from torch import Tensor, nn

from cmelt_plugin.data.signal_contract import SignalContract
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.base import CosineSimilarity, Embedding
from cmelt_plugin.modules.contrast import unit


class FrozenEncoder(CosineSimilarity, nn.Module):
    """Base of the models; they are opened, not trained.

    Attributes:
        signal: the ECGs it was trained on, and what it does to them.
    """

    pools: Sequence[str] = ("mean",)
    signal: SignalContract
    cfg: Any

    @classmethod
    def build_model(cls, cfg: Any, task: Any = None) -> Any:
        return cls(cfg)

    @staticmethod
    def encoder_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """None: classifiers are put on encoders of systems."""
        return {}

    @abstractmethod
    def pooled(self, ecg: Tensor, n_samples: Tensor | None) -> Tensor:
        """``ecg [B, leads, 5000]`` mV → ``[B, width]``, the encoder's mean over time."""

    def ecg_features(self, ecg: Tensor, n_samples: Tensor | None = None, pool: str | None = None) -> Tensor:
        """``ecg [B, leads, 5000]`` mV → ``[B, width]`` float32; ``mean`` is the only pool."""
        if pool not in (None, *self.pools):
            raise ValueError(f"pool must be one of {', '.join(self.pools)}, not {pool!r}")
        return self.pooled(ecg, n_samples).float()

    def embed_ecg(self, ecg: Tensor, n_samples: Tensor | None = None) -> Embedding:
        """Features of unit length, for similarities between recordings."""
        return Embedding(unit(self.ecg_features(ecg, n_samples)))


def of_each(ecg: Tensor, n_samples: Tensor | None, function: Callable[[np.ndarray], np.ndarray], shortest: int) -> Tensor:
    """What NumPy's and SciPy's functions make of recordings, each cut to its real samples and padded with zeros again.

    Args:
        ecg: ``[B, leads, T]`` mV.
        n_samples: ``[B]`` real samples of each; None: T.
        function: of a float64 ``[leads, samples]``.
        shortest: samples that a recording must have.

    Raises:
        DataError: a recording is shorter.
    """
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if tracing or torch.compiler.is_compiling():
        raise DataError("this encoder's filters are SciPy's, which no graph holds; use load_pretrained")
    lengths = [ecg.shape[-1]] * len(ecg) if n_samples is None else n_samples.tolist()
    out = np.zeros(ecg.shape)
    for row, (signal, length) in enumerate(zip(ecg.detach().cpu().double().numpy(), lengths)):
        if length < shortest:
            raise DataError(f"a recording of {length} samples; this encoder reads {shortest} and knows no padding")
        out[row, :, :length] = function(signal[:, :length])
    return torch.from_numpy(out).to(ecg)
