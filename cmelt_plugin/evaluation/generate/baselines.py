"""What needs no writing: a report of the training split for every recording, chosen in three ways."""

from __future__ import annotations

import numpy as np
import torch

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.encoder import SplitEncoder
from cmelt_plugin.evaluation.embedding.pairs import PairedSplit, with_reports
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference.scoring import similarity_rows

TRAIN = "train"
BASELINES = {
    "most_frequent": "most frequent report",
    "nearest": "report of the nearest recording",
    "random": "report of a random recording",
}
"""Each a report of :data:`TRAIN`."""
GALLERY_ROWS = 1 << 16  # recordings compared at once: training splits may be large


def baseline_reports(encoder: SplitEncoder, manifest: Manifest, rows: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Name of each of :data:`BASELINES` → report ids int64 ``[N]``.

    Args:
        encoder: of the model by whose embeddings recordings are near.
        manifest: the split that is evaluated.
        rows: int64 ``[N]``, the records of it that are.
        seed: of the random choice.

    Raises:
        DataError: there is no split :data:`TRAIN`, or none of its records has a report.
    """
    gallery_manifest = Manifest.open(manifest.directory, TRAIN)
    gallery = with_reports(gallery_manifest)
    if not len(gallery.rows):
        raise DataError(f"{manifest.directory}/{TRAIN}.meta.parquet: no record has a report to compare with")
    report_of = gallery.report_id[gallery.report]
    random = np.random.default_rng(seed).integers(len(report_of), size=len(rows))
    queries = encoder.embeddings(manifest).select(torch.from_numpy(rows))
    nearest = nearest_records(encoder, queries, encoder.embeddings(gallery_manifest).select(torch.from_numpy(gallery.rows)))
    return {
        "most_frequent": np.full(len(rows), most_frequent(gallery)),
        "nearest": report_of[nearest],
        "random": report_of[random],
    }


def most_frequent(pairs: PairedSplit) -> int:
    """The report that most records have, the first in reports.parquet of several."""
    return int(pairs.report_id[np.bincount(pairs.report).argmax()])


def nearest_records(encoder: SplitEncoder, queries: Embedding, gallery: Embedding) -> np.ndarray:
    """Row of the gallery that the model holds for most similar to each query, the first of equal ones: int64 ``[N]``."""
    best, nearest = torch.full((queries.rows,), -torch.inf), torch.zeros(queries.rows, dtype=torch.int64)
    for start in range(0, gallery.rows, GALLERY_ROWS):
        part = gallery.select(slice(start, start + GALLERY_ROWS))
        found = [scores.max(dim=1) for scores in similarity_rows(encoder.model, queries, part, encoder.device)]
        values, index = (torch.cat([pair[field].cpu() for pair in found]) for field in (0, 1))
        nearest = torch.where(values > best, index + start, nearest)
        best = torch.maximum(best, values)
    return nearest.numpy()
