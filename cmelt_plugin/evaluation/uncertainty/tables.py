"""Tables of what an uncertainty is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cmelt_plugin.evaluation.metrics.uncertainty import rise_with_disturbance
from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.evaluation.uncertainty.analysis import Comparison
from cmelt_plugin.evaluation.uncertainty.disturbances import LEADS_LOST, NOISE
from cmelt_plugin.evaluation.uncertainty.outcomes import MAE, R2
from cmelt_plugin.tables import DASH, TextTable

PLAIN = (MAE, R2)  # no shares
TITLES = {NOISE: "added noise", LEADS_LOST: "lost leads"}


def halves_table(comparisons: Mapping[tuple[str, str], Comparison]) -> TextTable:
    """A row per evaluation and metric: all records, those of low and of high uncertainty, and the trend over ten bins."""
    head = ["evaluation", "metric", "records", "all", "low uncertainty", "high uncertainty", "Pearson, ten bins"]
    rows = []
    for (label, metric), one in comparisons.items():
        factor, digits = (1.0, 3) if metric in PLAIN else (100.0, 1)
        cells = [_with_interval(*cell, factor, digits) for cell in zip((one.every, one.low, one.high), one.intervals)]
        name = metric if metric in PLAIN else f"{metric} (%)"
        rows.append([label, name, str(one.counts[0]), *cells, _number(one.trend.pearson, 2)])
    return TextTable("Metrics by uncertainty", head, rows)


def correlation_table(result: Result) -> TextTable:
    """A row per evaluation and kind of error."""
    prefix = "spearman/"
    rows = [
        [*name[len(prefix) :].rsplit("/", 1), _number(value, 3)]
        for name, value in result.metrics.items()
        if name.startswith(prefix)
    ]
    return TextTable("Uncertainty and error of each record", ["evaluation", "error", "Spearman"], rows)


def disturbance_table(levels: Mapping[str, np.ndarray], steps: Mapping[str, Sequence[float]]) -> TextTable:
    """A row per disturbance: mean uncertainty at each level, and the share of records that rise."""
    head = ["disturbance", "records", "mean uncertainty at its levels", "rising at every step (%)", "chance (%)"]
    head.append("higher at the end (%)")
    rows = []
    for name, values in levels.items():
        rise = rise_with_disturbance(values)
        unit = " dB" if name == NOISE else ""
        shown = ["none", *(f"{step:g}{unit}" for step in steps[name])]
        means = ", ".join(f"{level}: {mean:.4g}" for level, mean in zip(shown, rise.means))
        shares = [f"{100 * value:.1f}" for value in (rise.monotone, rise.chance, rise.ends_higher)]
        rows.append([TITLES[name], str(len(values)), means, *shares])
    return TextTable("Uncertainty of disturbed recordings", head, rows)


def _with_interval(value: float, pair: tuple[float, float] | None, factor: float, digits: int) -> str:
    interval = "" if pair is None else f" [{factor * pair[0]:.{digits}f}, {factor * pair[1]:.{digits}f}]"
    return _number(factor * value, digits) + ("" if np.isnan(value) else interval)


def _number(value: float, digits: int) -> str:
    return DASH if np.isnan(value) else f"{value:.{digits}f}"
