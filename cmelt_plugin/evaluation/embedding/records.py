"""The recordings of a split as embeddings that the model's similarity compares with texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.evaluation.embedding.passes import Columns, evaluating, over_records
from cmelt_plugin.models.base import Embedding


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


def embedding_of(columns: Columns) -> Embedding:
    """The embeddings whose fields are these columns."""
    return Embedding(**{name: torch.from_numpy(values) for name, values in columns.items()})


def columns_of(embedding: Embedding) -> Columns:
    """The fields of embeddings on the CPU as arrays."""
    return {name: values.numpy() for name, values in embedding._asdict().items() if values is not None}
