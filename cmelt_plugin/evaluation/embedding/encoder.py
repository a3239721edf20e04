"""A model with how it goes over recordings and what it has said about them before."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.leads import LEADS, ordered_leads
from cmelt_plugin.evaluation.embedding.cache import EmbeddingCache, split_inputs
from cmelt_plugin.evaluation.embedding.features import FEATURES, choose_pool, extract_features
from cmelt_plugin.evaluation.embedding.precision import precision_name
from cmelt_plugin.evaluation.embedding.records import columns_of, embed_records, embedding_of
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference.scoring import other_score


class SplitEncoder:
    """Embeddings and features of whole splits, each computed once.

    Args:
        model: an :class:`~cmelt_plugin.models.base.ECGModel`.
        cache: folder for the values, used again by later runs; None: they are kept in memory alone.
        batch_size, workers, device, bf16: as :func:`cmelt_plugin.evaluation.embedding.passes.over_records`.
    """

    def __init__(
        self,
        model: Any,
        cache: str | os.PathLike | None = None,
        batch_size: int = 64,
        workers: int = 0,
        device: str | torch.device = "cpu",
        bf16: bool = False,
    ) -> None:
        self.model = model
        self.cache = EmbeddingCache(model, cache)
        self.batch_size, self.workers, self.device, self.bf16 = batch_size, workers, device, bf16

    def embeddings(self, manifest: Manifest, leads: Sequence[str] | None = None) -> Embedding:
        """:func:`~cmelt_plugin.evaluation.embedding.records.embed_records`."""

        def compute() -> dict[str, np.ndarray]:
            return columns_of(embed_records(self.model, manifest, self.batch_size, self.device, self.workers, self.bf16, leads))

        shown = list(ordered_leads(LEADS if leads is None else leads))
        fewer = {} if shown == list(LEADS) else {"leads": shown}  # files from before there was a choice say nothing of leads
        inputs = {**split_inputs(manifest), "precision": precision_name(self.bf16), **other_score(self.model), **fewer}
        return embedding_of(self.cache.columns("embeddings", inputs, len(manifest), compute))

    def features(self, manifest: Manifest, pool: str | None = None, leads: Sequence[str] | None = None) -> np.ndarray:
        """:func:`~cmelt_plugin.evaluation.embedding.features.extract_features`."""
        pool = choose_pool(self.model, pool)
        inputs = {
            **split_inputs(manifest),
            "precision": precision_name(self.bf16),
            "pool": pool,
            "leads": list(ordered_leads(LEADS if leads is None else leads)),
        }

        def compute() -> dict[str, np.ndarray]:
            return {
                FEATURES: extract_features(
                    self.model, manifest, pool, leads, self.batch_size, self.device, self.workers, bf16=self.bf16
                )
            }

        return self.cache.columns(FEATURES, inputs, len(manifest), compute)[FEATURES]
