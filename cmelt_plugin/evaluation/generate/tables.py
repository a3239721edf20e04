"""Tables of generated reports beside what needs no writing, from results alone."""

from __future__ import annotations

from collections.abc import Sequence

from cmelt_plugin.evaluation.generate.baselines import BASELINES
from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.evaluation.side_by_side import interval_cell, key
from cmelt_plugin.tables import DASH, TextTable, percent

COLUMNS = {
    "bleu": "BLEU",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "fact_precision": "facts: precision",
    "fact_recall": "facts: recall",
    "fact_f1": "facts: F1",
    "fact_macro_f1": "facts: macro F1",
    "denied_f1": "denied: F1",
    "exact": "same as the reference",
}


def generation_table(named: Sequence[tuple[str, Result]]) -> TextTable:
    """One row per set and system: the model's reports, then the baselines'."""
    systems = ("", *BASELINES)
    shown = [m for m in COLUMNS if any(key(m, system) in result.metrics for _, result in named for system in systems)]
    rows = []
    for name, result in named:
        for system in systems:
            cells = [interval_cell(result, key(metric, system)) for metric in shown]
            distinct = result.metrics.get(key("distinct", system))
            cells.append(DASH if distinct is None else f"{distinct:.0f}")
            rows.append([name, BASELINES.get(system, result.model), str(result.n_records), *cells])
    head = ["set", "report", "records", *(COLUMNS[metric] for metric in shown), "distinct"]
    return TextTable("Generated reports (%)", head, rows)


def findings_table(name: str, result: Result) -> TextTable:
    """One row per finding that a reference names, the most frequent first."""
    head = ["finding", "records", "precision", "recall", "F1", *(f"F1, {text}" for text in BASELINES.values())]
    found = sorted(result.per_class.items(), key=lambda item: -item[1]["positives"])
    rows = [
        [finding, f"{values['positives']:.0f}"]
        + [interval_cell(result, metric, finding) for metric in ("precision", "recall", "f1")]
        + [percent(values.get(key("f1", baseline))) for baseline in BASELINES]
        for finding, values in found
        if values["positives"]
    ]
    return TextTable(f"Findings in the reports of {name} (%)", head, rows)
