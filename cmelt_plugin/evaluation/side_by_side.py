"""Metrics of a model beside those of what it must beat, over all findings and of each, in one result."""

from __future__ import annotations

from collections.abc import Mapping

from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.tables import DASH, percent


def key(metric: str, other: str = "") -> str:
    """Name of a metric in a result: the model's own as it is, another's with that one's name after a bar."""
    return f"{metric}|{other}" if other else metric


def by_finding(metrics: Mapping[str, float]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Metrics of all findings together, and finding → its own: of ``f1/PVC|nearest`` PVC has ``f1|nearest``."""
    together: dict[str, float] = {}
    single: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        whole, bar, other = name.partition("|")
        metric, slash, finding = whole.partition("/")
        if slash:
            single.setdefault(finding, {})[f"{metric}{bar}{other}"] = value
        else:
            together[name] = value
    return together, single


def interval_cell(result: Result, metric: str, finding: str = "") -> str:
    """A metric in percent with its interval; of one finding, or of all."""
    values = result.per_class[finding] if finding else result.metrics
    text, bounds = percent(values.get(metric)), result.intervals.get(f"{metric}/{finding}" if finding else metric)
    return text if bounds is None or text == DASH else f"{text} [{', '.join(map(percent, bounds))}]"
