"""Metrics over chosen records and classes, as results with intervals over subjects and the spread over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cmelt_plugin.evaluation.labelled_split import LabelledSplit
from cmelt_plugin.evaluation.linear_probe.results import ProbeScores, probe_result
from cmelt_plugin.evaluation.options import CommandFacts
from cmelt_plugin.evaluation.result_files import Result, Scores

LEAST = 5
"""Positive records, of those that are evaluated, that a class needs to count."""


def chosen_columns(labels: np.ndarray, least: int = LEAST, trained: np.ndarray | None = None) -> np.ndarray:
    """Classes that count: bool ``[C]``.

    Args:
        labels: ``[N, C]`` 1/0, NaN = unknown, of the records that are evaluated.
        least: positives that a class needs; it also needs a negative.
        trained: ``[M, C]``, labels of the training records, among which a class then needs a positive, too.
    """
    chosen = ((labels == 1).sum(axis=0) >= least) & (labels == 0).any(axis=0)
    return chosen if trained is None else chosen & (trained == 1).any(axis=0)


def measured(
    kind: str,
    split: LabelledSplit,
    rows: np.ndarray,
    columns: np.ndarray,
    scores: Sequence[np.ndarray],
    facts: CommandFacts,
    settings: dict[str, Any] | None = None,
) -> tuple[Result, Scores]:
    """The result of one or several models on some records and classes of a split.

    Args:
        kind: of the result.
        split: N records and labels.
        rows: int, of those that count.
        columns: bool ``[C]``.
        scores: of each seed ``[N, C]``, larger = more likely.
        facts: of the command.
        settings: what else decides the metrics.
    """
    part = split._replace(
        names=[name for name, chosen in zip(split.names, columns) if chosen],
        labels=split.labels[rows][:, columns],
        record_id=[split.record_id[row] for row in rows],
        subject_id=[split.subject_id[row] for row in rows],
    )
    probed = ProbeScores(part.names, part.labels, [one[rows][:, columns] for one in scores])
    return probe_result(kind, probed, part, facts, dict(settings or {}), [])
