"""What kind of embeddings a model has: points or Gaussians, and how wide. Needs no manifest directory."""

from __future__ import annotations

import torch

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference.pretrained import Pretrained


@torch.inference_mode()
def silent_embedding(pretrained: Pretrained) -> Embedding:
    """The embedding of a recording of zeros, which says how wide embeddings are and whether they are Gaussians."""
    signal = pretrained.model.signal
    return pretrained.model.embed_ecg(torch.zeros(1, len(signal.leads), signal.n_samples, device=pretrained.device))


def require_gaussians(pretrained: Pretrained) -> None:
    """Stop where a model's embeddings are points.

    Raises:
        DataError: they are.
    """
    if silent_embedding(pretrained).log_variance is None:
        raise DataError(
            f"{pretrained.source}: this model's embeddings are points, which have no variance and hence no uncertainty"
        )
