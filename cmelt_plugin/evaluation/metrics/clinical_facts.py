"""Whether generated reports state the findings of the reference reports: precision, recall and F1.

A fact is a finding that a report affirms. One that it denies is none; denied findings are compared by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cmelt_plugin.data.text.mentions import Vocabulary

__all__ = ["Facts", "FactMetrics", "read_facts"]


class Facts(NamedTuple):
    """The findings in N reports.

    Attributes:
        affirmed: bool ``[N, C]``.
        denied: bool ``[N, C]``, those that are only denied.
    """

    affirmed: np.ndarray
    denied: np.ndarray


def read_facts(vocabulary: Vocabulary, reports: Sequence[str]) -> Facts:
    """The findings that reports affirm and deny, in the order of the vocabulary's C classes."""
    if not reports:
        raise ValueError("no reports")
    known: dict[str, list[list[bool]]] = {}
    for report in reports:
        if report not in known:
            kinds = vocabulary.findings_of(report)
            known[report] = [[name in kind for name in vocabulary.findings] for kind in kinds]
    every = np.array([known[report] for report in reports])
    return Facts(every[:, 0], every[:, 1])


class FactMetrics:
    """Precision, recall and F1 as sums over records, so that those of a resample of records come from sums, too.

    Args:
        findings: the C classes.
    """

    def __init__(self, findings: Sequence[str]) -> None:
        self.findings = list(findings)

    def columns(self, generated: Facts, reference: Facts) -> np.ndarray:
        """What N records bring to the sums: hits, stated and true findings of each class, then of denied ones; ``[N, 6 C]``."""
        parts = [part for said, true in zip(generated, reference) for part in (said & true, said, true)]
        return np.concatenate(parts, axis=1).astype(np.float64)

    def metrics(self, sums: np.ndarray) -> Mapping[str, float]:
        """Metrics of sums of columns ``[6 C]``; NaN = undefined.

        ``fact_precision``, ``fact_recall``, ``fact_f1`` over all findings together (micro); ``fact_macro_f1``, the mean over
        findings that occur in a reference; ``precision/<class>``, ``recall/<class>``, ``f1/<class>``; ``denied_precision``,
        ``denied_recall``, ``denied_f1`` of denials together. A class without a reference has no recall and no F1.
        """
        hits, stated, true, *denials = np.split(sums, 6)
        f1 = _ratio(2 * hits, stated + true, true > 0)
        named = ("precision", _ratio(hits, stated)), ("recall", _ratio(hits, true)), ("f1", f1)
        values = {f"fact_{name}": value for name, value in _together(hits, stated, true).items()}
        values["fact_macro_f1"] = float(np.nanmean(f1)) if (true > 0).any() else np.nan
        values.update({f"denied_{name}": value for name, value in _together(*denials).items()})
        values.update({f"{name}/{finding}": float(v) for name, every in named for finding, v in zip(self.findings, every)})
        return values


def _together(hits: np.ndarray, stated: np.ndarray, true: np.ndarray) -> dict[str, float]:
    h, s, t = hits.sum(), stated.sum(), true.sum()
    return {
        "precision": float(_ratio(h, s)),
        "recall": float(_ratio(h, t)),
        "f1": float(_ratio(2 * h, s + t, t > 0)),
    }


def _ratio(above: np.ndarray, below: np.ndarray, defined: np.ndarray | bool = True) -> np.ndarray:
    return np.where((below > 0) & defined, above / np.maximum(below, 1), np.nan)
