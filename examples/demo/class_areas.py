"""Areas under the ROC curves of the classes that have enough records to measure one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cmelt_plugin.evaluation.metrics.multi_label import classification_metrics

MIN_RECORDS = 5
"""Positive records, and negative ones, below which the area of a class says little."""


class ClassAreas(NamedTuple):
    """Areas of the classes that count.

    Attributes:
        macro: their mean; NaN without any.
        per_class: class → area.
        positives: class → number of positive records.
        left_out: classes with fewer than :data:`MIN_RECORDS` positive or negative records.
    """

    macro: float
    per_class: dict[str, float]
    positives: dict[str, int]
    left_out: list[str]


def class_areas(labels: np.ndarray, scores: np.ndarray, names: Sequence[str]) -> ClassAreas:
    """
    Args:
        labels: ``[N, C]`` 0/1, NaN = unknown.
        scores: ``[N, C]``, larger = more likely.
        names: the C classes.
    """
    every = classification_metrics(labels, scores, names).per_class
    counted = {name: one for name, one in every.items() if min(one.positives, one.negatives) >= MIN_RECORDS}
    areas = {name: one.auc for name, one in counted.items()}
    return ClassAreas(
        macro=float(np.mean(list(areas.values()))) if areas else float("nan"),
        per_class=areas,
        positives={name: one.positives for name, one in counted.items()},
        left_out=[name for name in names if name not in counted],
    )
