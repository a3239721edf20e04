"""Whether recordings have changed: the tables, and the promise over time."""

from __future__ import annotations

from cmelt_plugin.evaluation.drift.tables import drift_tables
from cmelt_plugin.evaluation.plots.confidence import promise_figure
from cmelt_plugin.evaluation.report.blocks import Block, Paragraph, Picture, Section, Table
from cmelt_plugin.evaluation.report.descriptions import heading
from cmelt_plugin.evaluation.result_files import StoredResult


def drift_section(stored: StoredResult) -> Section | None:
    """What one result of the kind ``drift`` says; None for other kinds."""
    result = stored.result
    if result.kind != "drift":
        return None
    blocks: list[Block] = [Paragraph(f"{result.n_records} recordings, compared with {result.settings['reference']}.")]
    for table in drift_tables(result):
        blocks += [Paragraph(f"{table.title}:"), Table(table.head, table.rows, numeric=range(1, len(table.head)))]
    blocks += [Paragraph(note) for note in result.notes]
    over_time = result.settings.get("windows", [])
    recalls, refused = ([one[name] for one in over_time] for name in ("recall", "refused"))
    if any(recall is not None for recall in recalls):
        figure = promise_figure(recalls, refused, result.settings["promised"], "The promise over time")
        description = "recall of the sets and share of refused recordings in windows by time"
        blocks.append(Picture(figure, description, "Windows of as many recordings each, the oldest first."))
    return Section(heading(result), blocks)
