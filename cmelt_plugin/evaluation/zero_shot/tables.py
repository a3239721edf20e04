"""Tables of zero-shot results, as texts: rows of a Markdown page and of CSV files. Numbers are percentages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from cmelt_plugin.evaluation.metrics.multi_label import MANY_POSITIVES
from cmelt_plugin.evaluation.metrics.thresholds import BALANCED_ACCURACY
from cmelt_plugin.evaluation.report.own_rows import extend
from cmelt_plugin.evaluation.report.published import published_tables
from cmelt_plugin.evaluation.result_files import Result, StoredResult
from cmelt_plugin.evaluation.shift import PAIRS
from cmelt_plugin.tables import DASH, TextTable, percent


def summary_table(named: Sequence[tuple[str, Result]]) -> TextTable:
    """One row per set: sizes, macro AUC with its interval, and what it leaves out."""
    head = [
        "set",
        "split",
        "records",
        "subjects",
        "classes",
        "macro AUC",
        "low",
        "high",
        f"macro AUC (≥ {MANY_POSITIVES} positives)",
        f"classes (≥ {MANY_POSITIVES} positives)",
        "macro AP",
        "macro F1",
        "accuracy",
        "left out",
    ]
    balanced = any(BALANCED_ACCURACY in result.metrics for _, result in named)
    if balanced:
        head.insert(-1, "balanced accuracy")
    rows = []
    for name, result in named:
        low, high = result.intervals.get("macro_auc", (None, None))
        measured = [entry for name, entry in result.per_class.items() if name not in result.excluded]
        rows.append(
            [
                name,
                result.split,
                str(result.n_records),
                str(result.n_subjects),
                f"{len(measured)} of {len(result.per_class)}",
                percent(result.metrics.get("macro_auc")),
                percent(low),
                percent(high),
                percent(result.metrics.get("macro_auc_10")),
                str(sum(entry["positives"] >= MANY_POSITIVES for entry in measured)),
                percent(result.metrics.get("macro_auprc")),
                percent(result.metrics.get("macro_f1")),
                percent(result.metrics.get("accuracy")),
                *([percent(result.metrics.get(BALANCED_ACCURACY))] if balanced else []),
                " ".join(result.excluded) or DASH,
            ]
        )
    return TextTable("Zero-shot classification (%)", head, rows)


def class_table(named: Sequence[tuple[str, Result]]) -> TextTable:
    """One row per class of every set."""
    head = ["set", "class", "positives", "negatives", "AUC", "low", "high", "AP", "prevalence", "threshold", "F1"]
    rows = []
    for name, result in named:
        for class_name, entry in result.per_class.items():
            low, high = result.intervals.get(f"auc/{class_name}", (None, None))
            threshold = entry["threshold"]
            rows.append(
                [
                    name,
                    class_name,
                    str(int(entry["positives"])),
                    str(int(entry["negatives"])),
                    percent(entry["auc"]),
                    percent(low),
                    percent(high),
                    percent(entry["auprc"]),
                    percent(entry["prevalence"]),
                    f"{threshold:.5f}" if math.isfinite(threshold) else DASH,
                    percent(entry["f1"]),
                ]
            )
    return TextTable("Classes (%)", head, rows)


def shift_table(results: Sequence[Result]) -> TextTable:
    """The layout of paper Table 4: a column per pair of source and target, our row, and what it rests on."""
    by_pair = {(result.settings["source"], result.label_set): result for result in results}
    pairs = [pair for pair in PAIRS if pair in by_pair]
    head = ["source domain → target domain", "zero-shot", "training ratio", *(f"{s} → {t}" for s, t in pairs)]

    def row(title: str, cells: list[str]) -> list[str]:
        return [title, "", "", *cells]

    model = results[0].model if results else ""
    chosen = [by_pair[pair] for pair in pairs]
    intervals = [result.intervals.get("macro_auc", (None, None)) for result in chosen]
    return TextTable(
        "Distribution shift (macro AUC, %)",
        head,
        [
            [model, "✓", "0%", *(percent(result.metrics.get("macro_auc")) for result in chosen)],
            row("95 % interval, low", [percent(low) for low, _ in intervals]),
            row("95 % interval, high", [percent(high) for _, high in intervals]),
            row("target classes", [" ".join(result.per_class) for result in chosen]),
            row("left out", [" ".join(result.excluded) or DASH for result in chosen]),
            row("records", [str(result.n_records) for result in chosen]),
            row("subjects", [str(result.n_subjects) for result in chosen]),
        ],
    )


def prompts_table(named: Sequence[tuple[str, Result]]) -> TextTable:
    """Kinds of class texts side by side: a row per set, a column per kind, macro AUC with its interval."""
    kinds = list(dict.fromkeys(result.settings["prompt_kind"] for _, result in named))
    by_kind = {(name, result.settings["prompt_kind"]): result for name, result in named}
    rows = []
    for name in dict.fromkeys(name for name, _ in named):
        of_set = [by_kind.get((name, kind)) for kind in kinds]
        first = next(result for result in of_set if result is not None)
        rows.append([name, str(first.n_records), str(first.n_subjects), *map(_with_interval, of_set)])
    return TextTable("Class texts compared (macro AUC, %)", ["set", "records", "subjects", *kinds], rows)


def published_comparisons(results: Sequence[Result]) -> dict[str, TextTable]:
    """Table id → our rows below those of a paper, and how many records ours rest on; tables where none of ours belongs are out.

    Args:
        results: of one kind.
    """
    comparisons = {}
    for table in published_tables():
        extended = extend(table, [StoredResult(Path(), result) for result in results])
        if extended.has_own:
            rows = [*extended.texts(), ["records evaluated here", *extended.sizes()]]
            title = f"Beside the paper's Table {table.number} ({table.unit})"
            comparisons[table.id] = TextTable(title, extended.heads(), rows)
    return comparisons


def _with_interval(result: Result | None) -> str:
    if result is None:
        return DASH
    low, high = result.intervals.get("macro_auc", (None, None))
    interval = "" if low is None else f" [{percent(low)}, {percent(high)}]"
    return percent(result.metrics.get("macro_auc")) + interval
