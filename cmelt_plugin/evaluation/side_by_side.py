"""Metrics of a model beside those of what it must beat, in one result."""

from __future__ import annotations

from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.evaluation.tables import DASH, percent


def key(metric: str, other: str = "") -> str:
    """Name of a metric in a result: the model's own as it is, another's with that one's name after a bar."""
    return f"{metric}|{other}" if other else metric


def interval_cell(result: Result, name: str) -> str:
    """A metric in percent with its interval."""
    text, bounds = percent(result.metrics.get(name)), result.intervals.get(name)
    return text if bounds is None or text == DASH else f"{text} [{', '.join(map(percent, bounds))}]"
