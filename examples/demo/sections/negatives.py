"""Negative reports: how they were chosen, and examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cmelt_plugin.data.batches.negatives import NegativeTable
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.evaluation.report.blocks import Paragraph, Section, Table


class NegativePair(NamedTuple):
    """A report, one of its negatives, and their cosine distance."""

    report: str
    negative: str
    distance: float


def negatives_section(directory: Path, splits: Sequence[str], embeddings: np.ndarray, n_reports: int = 6) -> Section:
    """What was drawn as negatives for each split, and example pairs, from the most frequent report to rare ones.

    Args:
        directory: the manifest directory.
        splits: those to be listed; the pairs are of the first.
        embeddings: as :func:`negative_pairs`.
        n_reports: example pairs.
    """
    rows = []
    for split in splits:
        info = NegativeTable.load(directory, split).info
        values = [info.get(key, float("nan")) for key in ("share_used", "text_only_auc", "mean_distance")]
        rows.append([split, info["strategy"], info["embedder"], info["k"], *(f"{value:.3f}" for value in values)])
    head = ["split", "strategy", "embedder", "k", "share of reports used", "text-only AUC", "mean distance"]
    pairs = negative_pairs(directory, splits[0], embeddings, n_reports)
    return Section(
        "Negative reports (N3S)",
        [
            Table(head, rows, numeric=[3, 4, 5, 6]),
            Paragraph(
                "Text-only AUC: how well swapped reports can be told from true ones without looking at the ECG. 0.5 means "
                "not at all, so that matching has to be learnt from the ECG."
            ),
            Paragraph(
                "Half of the ECGs of a batch stand beside a negative in place of their own report. Distance: cosine distance "
                "of the texts, 0 to 2."
            ),
            Table(
                ["report", "its negative", "distance"],
                [[pair.report, pair.negative, f"{pair.distance:.2f}"] for pair in pairs],
                numeric=[2],
            ),
        ],
    )


def negative_pairs(directory: Path, split: str, embeddings: np.ndarray, n_reports: int) -> list[NegativePair]:
    """Example pairs.

    Args:
        directory, split: where the negatives are.
        embeddings: ``[reports, d]``, rows of unit norm, of all reports in the order of reports.parquet.
        n_reports: how many.
    """
    table = NegativeTable.load(directory, split)
    texts = read_reports(directory).texts
    present, counts = np.unique(Manifest.open(directory, split).report_ids(), return_counts=True)
    by_frequency = present[np.argsort(-counts, kind="stable")]
    chosen = by_frequency[np.unique(np.geomspace(1, len(by_frequency), n_reports).astype(int) - 1)]
    drawn = table.draw(chosen, np.random.default_rng(1).random(len(chosen)))
    return [
        NegativePair(texts[int(own)].as_py(), texts[int(other)].as_py(), float(1 - embeddings[own] @ embeddings[other]))
        for own, other in zip(chosen, drawn)
    ]
