"""A model's estimates on a measured split, and those it is compared with."""

from __future__ import annotations

import numpy as np
import torch

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.teacher import Teacher
from cmelt_plugin.evaluation.embedding.encoder import SplitEncoder
from cmelt_plugin.evaluation.embedding.teacher_items import TEACHER_ID, Centring, item_embedding, teacher_pairs
from cmelt_plugin.evaluation.regress.candidates import TEACHER, Candidates
from cmelt_plugin.evaluation.regress.estimates import Estimates, estimate_values
from cmelt_plugin.evaluation.regress.measured_split import MeasuredSplit
from cmelt_plugin.evaluation.regress.results import MODEL, Estimator
from cmelt_plugin.models.base import Embedding


def centring_on(encoder: SplitEncoder, manifest: Manifest, candidates: Candidates) -> Centring:
    """Means of the embeddings of a split that is not evaluated, and of the texts."""
    return Centring.of(encoder.embeddings(manifest).mean, candidates.embedding.mean)


def model_estimators(
    encoder: SplitEncoder, measured: MeasuredSplit, candidates: Candidates, centring: Centring | None, samples: int, seed: int
) -> tuple[dict[str, Estimator], Estimates]:
    """The model's estimators, and the estimates of the first of them."""
    ecg = encoder.embeddings(measured.manifest).select(torch.from_numpy(measured.rows))

    def estimates(texts: Candidates) -> Estimates:
        return estimate_values(encoder.model, ecg, texts, samples, seed, encoder.device)

    first = estimates(candidates)
    estimators = {MODEL: Estimator("mean embedding", first.value, first.low, first.high)}
    if first.sampled is not None:
        estimators["sampled"] = Estimator(f"{samples} samples", first.sampled, first.low, first.high)
    if centring is not None:
        centred = estimates(candidates._replace(centring=centring))
        estimators["centred"] = Estimator("mean embedding, centred", centred.value, centred.low, centred.high)
    return estimators, first


def train_mean(measured: MeasuredSplit) -> dict[str, Estimator]:
    """The mean of the training records; empty where there are none."""
    if measured.train_mean is None:
        return {}
    constant = np.full(len(measured.target), measured.train_mean)
    return {"train_mean": Estimator("mean of the training records", constant)}


def random_weights(
    encoder: SplitEncoder, untrained: SplitEncoder, measured: MeasuredSplit, candidates: Candidates
) -> dict[str, Estimator]:
    """An encoder with random weights before the same texts.

    Args:
        encoder: the model's, which compares.
        untrained: the same encoder with random weights.
        measured: the split.
        candidates: the texts.
    """
    ecg = untrained.embeddings(measured.manifest).select(torch.from_numpy(measured.rows))
    value = estimate_values(encoder.model, ecg, candidates, 0, device=encoder.device).value
    return {"random": Estimator("encoder with random weights", value)}


def ceiling(encoder: SplitEncoder, measured: MeasuredSplit, teacher: Teacher, candidates: Candidates) -> dict[str, Estimator]:
    """The teacher's own means before its texts, for the records whose item the sidecar holds; empty where it holds none."""
    if candidates.texts != TEACHER or TEACHER_ID not in measured.manifest.meta().column_names:
        return {}
    pairs = teacher_pairs(measured.manifest, teacher)
    shared, places, of_pairs = np.intersect1d(measured.rows, pairs.rows, return_indices=True)
    if not len(shared):
        return {}
    items = Embedding(item_embedding(teacher, pairs.item_row).mean)
    value = estimate_values(encoder.model, items, candidates, 0).value
    return {"teacher": Estimator("the teacher's own means", value[pairs.item[of_pairs]], rows=places)}
