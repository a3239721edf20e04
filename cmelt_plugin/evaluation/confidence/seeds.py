"""Several trainings of one model as one row: the mean over them, and the spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cmelt_plugin.evaluation.result_files import Result


def over_trainings(results: Sequence[Result]) -> list[Result]:
    """One result a model, in order of appearance.

    Of a model with several results: means of the metrics that all of them have, of the classes, too; their standard deviations
    (n − 1) as ``spread``; no intervals, which are of one training each.
    """
    merged = []
    for name in dict.fromkeys(result.model for result in results):
        own = [result for result in results if result.model == name]
        first = own[0]
        if len(own) > 1:
            classes = {key: _means([result.per_class.get(key, {}) for result in own])[0] for key in first.per_class}
            metrics, spread = _means([result.metrics for result in own])
            first = replace(first, metrics=metrics, spread=spread, per_class=classes, intervals={})
        merged.append(first)
    return merged


def _means(rows: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and standard deviation of what every row has, by name."""
    values = {name: [row[name] for row in rows] for name in rows[0] if all(name in row for row in rows)}
    means = {name: float(np.mean(found)) for name, found in values.items()}
    return means, {name: float(np.std(found, ddof=1)) for name, found in values.items()}
