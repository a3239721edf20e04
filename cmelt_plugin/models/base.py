"""What every system offers: all that tasks, evaluation, export, predict and benchmarks may ask of a model.

A system is registered with :func:`cmelt_plugin.registry.register_system`. An encoder of ECGs alone is an :class:`ECGModel`; one
that also reads texts is an :class:`ECGTextModel`. Scores between the two are made by the model and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Embedding(NamedTuple):
    """Points in the space that ECGs and texts share, or Gaussians with a diagonal covariance.

    Attributes:
        mean: ``[B, D]`` float32.
        log_variance: ``[B, D]`` float32; None: points.
    """

    mean: Tensor
    log_variance: Tensor | None = None

    @property
    def rows(self) -> int:
        """B; ``len()`` of a tuple is the number of its fields."""
        return len(self.mean)

    def to(self, device: torch.device | str) -> Embedding:
        return Embedding(self.mean.to(device), None if self.log_variance is None else self.log_variance.to(device))

    def select(self, index: Tensor | slice) -> Embedding:
        """Some of the rows."""
        return Embedding(self.mean[index], None if self.log_variance is None else self.log_variance[index])


def concatenate(parts: Sequence[Embedding]) -> Embedding:
    """Embeddings one below the other.

    Raises:
        ValueError: nothing to concatenate, or points among Gaussians.
    """
    variances = [part.log_variance for part in parts if part.log_variance is not None]
    if not parts or len(variances) not in (0, len(parts)):
        raise ValueError("needs embeddings of one kind, at least one")
    return Embedding(torch.cat([part.mean for part in parts]), torch.cat(variances) if variances else None)


@runtime_checkable
class ECGModel(Protocol):
    """An encoder of ECGs: a classifier, a self-supervised model, the ECG half of an ECG–text model."""

    def ecg_features(self, ecg: Tensor, n_samples: Tensor | None = None, pool: str = "mean") -> Tensor:
        """``ecg [B, 12, T]`` mV → pooled states ``[B, width]`` before any projection: what probes and classifiers read.

        Args:
            ecg: ``[B, 12, T]`` float32, mV.
            n_samples: ``[B]`` real samples per record; None: none is padded.
            pool: one of :attr:`pools`.
        """
        ...

    def layers(self) -> list[nn.Module]:
        """Layers of the ECG encoder from input to output, for layer-wise learning rates."""
        ...


@runtime_checkable
class ECGTextModel(ECGModel, Protocol):
    """An ECG encoder and a text encoder with one space of embeddings."""

    def embed_ecg(self, ecg: Tensor, n_samples: Tensor | None = None) -> Embedding:
        """``ecg [B, 12, T]`` mV, unmasked → B embeddings as :meth:`similarity` takes them."""
        ...

    def embed_text(self, ids: Tensor, padding_mask: Tensor | None = None) -> Embedding:
        """``ids [B, L]``, ``padding_mask [B, L]`` True = padding → B embeddings as :meth:`similarity` takes them."""
        ...

    def similarity(self, ecg: Embedding, text: Embedding) -> Tensor:
        """``[A, B]``: the score of each ECG with each text, or of any two lists of embeddings; higher = closer."""
        ...

    def ensemble(self, texts: Embedding, group: Tensor, n_groups: int) -> Embedding:
        """One embedding for each of ``n_groups`` from several texts; ``group [B]`` int64 names each text's group."""
        ...

    def match_probability(self, similarity: Tensor) -> Tensor | None:
        """What training takes for the probability of a pair at that similarity; None where it has no such thing."""
        ...


class CosineSimilarity:
    """Defaults for models whose embeddings are points of unit length: the score is the cosine."""

    def similarity(self, ecg: Embedding, text: Embedding) -> Tensor:
        return ecg.mean @ text.mean.T

    def ensemble(self, texts: Embedding, group: Tensor, n_groups: int) -> Embedding:
        """The mean of the unit-length embeddings of a group, of unit length again (CLIP's prompt ensemble)."""
        points = F.normalize(texts.mean, dim=-1)
        sums = torch.zeros(n_groups, points.shape[1], device=points.device).index_add_(0, group, points)
        counts = torch.bincount(group, minlength=n_groups)
        return Embedding(F.normalize(sums / counts[:, None], dim=-1))

    def match_probability(self, similarity: Tensor) -> Tensor | None:
        return None
