"""Tables of what an uncertainty is worth, from its result."""

from __future__ import annotations

from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.evaluation.uncertainty.disturbances import LEADS_LOST, NOISE
from cmelt_plugin.evaluation.uncertainty.outcomes import MAE, R2
from cmelt_plugin.tables import DASH, TextTable

PLAIN = (MAE, R2)  # no shares
TITLES = {NOISE: "added noise", LEADS_LOST: "lost leads"}
CORRELATION = "spearman/"
"""What names of metrics begin with that are correlations with the errors of records."""


def uncertainty_tables(result: Result) -> list[TextTable]:
    """The tables of a result that have rows."""
    tables = [halves_table(result), correlation_table(result), disturbance_table(result)]
    return [table for table in tables if table.rows]


def halves_table(result: Result) -> TextTable:
    """A row per evaluation and metric: all records, those of low and of high uncertainty, and the trend over ten bins."""
    head = ["evaluation", "metric", "records", "all", "low uncertainty", "high uncertainty", "Pearson, ten bins"]
    rows = []
    for label, metric, count in result.settings.get("compared", []):
        name, factor, digits = (metric, 1.0, 3) if metric in PLAIN else (f"{metric} (%)", 100.0, 1)
        cells = [_with_interval(result, f"{label}/{metric}/{part}", factor, digits) for part in ("all", "low", "high")]
        rows.append([label, name, str(count), *cells, _number(result.metrics.get(f"{label}/{metric}/pearson"), 2)])
    return TextTable("Metrics by uncertainty", head, rows)


def correlation_table(result: Result) -> TextTable:
    """A row per evaluation and kind of error."""
    rows = [
        [*name[len(CORRELATION) :].rsplit("/", 1), _number(value, 3)]
        for name, value in result.metrics.items()
        if name.startswith(CORRELATION)
    ]
    return TextTable("Uncertainty and error of each record", ["evaluation", "error", "Spearman"], rows)


def disturbance_table(result: Result) -> TextTable:
    """A row per disturbance: mean uncertainty at each level, and the share of records that rise."""
    head = ["disturbance", "records", "mean uncertainty at its levels", "rising at every step (%)", "chance (%)"]
    head.append("higher at the end (%)")
    rows = []
    for name, means in result.settings.get("mean_at_levels", {}).items():
        shown = ", ".join(f"{level}: {mean:.4g}" for level, mean in zip(level_names(result, name), means))
        shares = [_number(result.metrics.get(f"{name}/{part}"), 1, 100.0) for part in ("monotone", "chance", "ends_higher")]
        rows.append([TITLES[name], str(result.n_records), shown, *shares])
    return TextTable("Uncertainty of disturbed recordings", head, rows)


def level_names(result: Result, disturbance: str) -> list[str]:
    """What the levels of a disturbance are called, the first of them ``none``."""
    unit = " dB" if disturbance == NOISE else ""
    return ["none", *(f"{level:g}{unit}" for level in result.settings["levels"][disturbance])]


def _with_interval(result: Result, name: str, factor: float, digits: int) -> str:
    value, pair = result.metrics.get(name), result.intervals.get(name)
    interval = "" if pair is None or value is None else f" [{factor * pair[0]:.{digits}f}, {factor * pair[1]:.{digits}f}]"
    return _number(value, digits, factor) + interval


def _number(value: float | None, digits: int, factor: float = 1.0) -> str:
    return DASH if value is None else f"{factor * value:.{digits}f}"
