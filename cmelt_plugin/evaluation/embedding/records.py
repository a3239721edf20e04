"""The recordings of a split as embeddings that the model's similarity compares with texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.passes import Columns, evaluating, over_records
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference.pretrained import Pretrained


def embed_records(
    model: Any,
    manifest: Manifest,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    workers: int = 0,
    bf16: bool = False,
    leads: Sequence[str] | None = None,
) -> Embedding:
    """Embeddings of all N records of a split, float32, on the CPU.

    Args:
        model: an :class:`~cmelt_plugin.models.base.ECGTextModel`; it is moved to ``device`` and back.
        manifest: the split; what lies beyond a record's real samples reaches no token.
        batch_size, workers, bf16, leads: as :func:`cmelt_plugin.evaluation.embedding.passes.over_records`.
        device: where to compute.

    Raises:
        DataError: unreadable records, or the model gives NaN or infinity.
    """

    def encode(ecg: Tensor, n_samples: Tensor | None) -> dict[str, Tensor]:
        return {name: values for name, values in model.embed_ecg(ecg, n_samples)._asdict().items() if values is not None}

    with evaluating(model, device):
        return embedding_of(over_records(encode, manifest, batch_size, device, workers, bf16, leads=leads))


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


def embedding_of(columns: Columns) -> Embedding:
    """The embeddings whose fields are these columns."""
    return Embedding(**{name: torch.from_numpy(values) for name, values in columns.items()})


def columns_of(embedding: Embedding) -> Columns:
    """The fields of embeddings on the CPU as arrays."""
    return {name: values.numpy() for name, values in embedding._asdict().items() if values is not None}
