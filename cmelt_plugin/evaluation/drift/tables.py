"""Drift, as tables of a stored result."""

from __future__ import annotations

import math

from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.tables import DASH, TextTable, percent

ALARM = 0.01
"""p-value from which down on a row is marked."""


def drift_tables(result: Result) -> list[TextTable]:
    """Embeddings, scores, and where there is a calibration the promise over time."""
    return [point_table(result), score_table(result), *([window_table(result)] if "windows" in result.settings else [])]


def point_table(result: Result) -> TextTable:
    """One row on embeddings."""
    head = ["embeddings", "told apart, AUC (%)", "p (Holm)", "farther away, p (Holm)", "beyond 95 % of then (%)", ""]
    values = {name: result.metrics[f"points/{name}"] for name in ("auc", "p_value", "distance_p_value", "beyond")}
    alarm = "drift" if min(values["p_value"], values["distance_p_value"]) < ALARM else ""
    cells = [percent(values["auc"], 1), f"{values['p_value']:.2g}", f"{values['distance_p_value']:.2g}"]
    row = ["now against then", *cells, percent(values["beyond"], 1), alarm]
    return TextTable("Embeddings (chance: AUC 50, beyond 5)", head, [row])


def score_table(result: Result) -> TextTable:
    """A row per class."""
    head = ["class", "largest difference (%)", "p (Holm)", "median moved by (SD)", ""]
    rows = [
        [
            name,
            percent(one["statistic"], 1),
            f"{one['p_value']:.2g}",
            f"{one['shift']:+.2f}",
            "drift" if one["p_value"] < ALARM else "",
        ]
        for name, one in result.per_class.items()
    ]
    return TextTable("Scores", head, rows)


def window_table(result: Result) -> TextTable:
    """A row per window."""
    recall = f"recall (%; promised {percent(result.settings['promised'], 1)})"
    head = ["from", "to", "records", "refused (%)", "with a class", recall, "p (Holm)", ""]
    rows = []
    for one in result.settings["windows"]:
        p_value = math.nan if one["p_value"] is None else one["p_value"]
        cells = [str(one["n_records"]), percent(one["refused"], 1), str(one["n_positive"]), percent(one["recall"], 1)]
        cells += [DASH if math.isnan(p_value) else f"{p_value:.2g}", "broken" if p_value < ALARM else ""]
        rows.append([one["begin"] or DASH, one["end"] or DASH, *cells])
    return TextTable("The promise over time", head, rows)
