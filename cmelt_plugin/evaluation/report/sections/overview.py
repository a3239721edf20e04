"""Every result in one table."""

from __future__ import annotations

from collections.abc import Sequence

from cmelt_plugin.evaluation.report.blocks import Paragraph, Section, Table
from cmelt_plugin.evaluation.report.descriptions import KIND_NAMES, data_set_name, settings_text
from cmelt_plugin.evaluation.result_files import Result, StoredResult
from cmelt_plugin.tables import DASH

LEADING_METRICS = (
    *("macro_auc", "cinc_score", "top1_accuracy", "score", "ecg_to_text_r10", "ecg_to_echo_r10", "text_to_echo_r10"),
    *("fact_f1", "pointing", "mae", "augrc/max-probability", "points/auc"),
)


def overview_section(results: Sequence[StoredResult]) -> Section:
    """One line per result."""
    rows = []
    for _, result in results:
        name, text = leading_metric(result)
        rows.append(
            [
                result.model,
                KIND_NAMES[result.kind],
                data_set_name(result),
                result.split,
                result.n_records,
                result.n_subjects,
                settings_text(result),
                name,
                text,
            ]
        )
    head = ["model", "what", "data", "split", "records", "subjects", "settings", "metric", "value"]
    return Section(
        "Results",
        [
            Table(head, rows, numeric=[4, 5, 8]),
            Paragraph(
                "In brackets: 95 % bootstrap interval over subjects. ±: standard deviation over seeds. Every value rests on "
                "the number of records beside it."
            ),
        ],
    )


def leading_metric(result: Result) -> tuple[str, str]:
    """Name and text of the metric a result is known by, with interval or spread."""
    for name in LEADING_METRICS:
        if name in result.metrics:
            text = f"{result.metrics[name]:.4f}"
            if name in result.spread:
                text += f" ± {result.spread[name]:.4f}"
            if name in result.intervals:
                text += " [{:.4f}, {:.4f}]".format(*result.intervals[name])
            return name, text
    for name, value in result.metrics.items():
        return name, f"{value:.4f}"
    return "", DASH
