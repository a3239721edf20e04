"""A published table with one's own rows."""

from __future__ import annotations

from cmelt_plugin.evaluation.report.blocks import Block, Paragraph, Section, Table
from cmelt_plugin.evaluation.report.own_rows import ExtendedTable
from cmelt_plugin.tables import DASH

MAX_COLUMNS = 8  # of wider tables those with a result of ours are shown


def table_section(extended: ExtendedTable) -> Section:
    """A published table with our rows below."""
    table = extended.table
    shown = list(range(len(table.columns)))
    sizes = extended.sizes()
    if extended.has_own and len(shown) > MAX_COLUMNS:
        shown = [index for index in shown if sizes[index] != DASH]
    rows = [
        [("▸ " if row.own else "") + text[0], *(text[1 + index] for index in shown)]
        for row, text in zip(extended.rows, extended.texts())
    ]
    head = ["method", *(table.columns[index].label for index in shown)]
    blocks: list[Block] = [Table(head, rows, numeric=list(range(1, len(head))))]
    if extended.has_own:
        known = ", ".join(f"{column.label} {n}" for column, n in zip(table.columns, sizes) if n != DASH)
        text = f"▸ measured here; records evaluated: {known}. The other rows: {table.source}."
        if table.grid:
            text += " ± of ours: standard deviation over seeds; of the published rows: over tasks."
        if len(shown) < len(table.columns):
            text += f" {len(table.columns) - len(shown)} columns without a result of yours are left out; tables/ has them."
        blocks.append(Paragraph(text))
    else:
        blocks.append(Paragraph(f"No result of yours belongs here yet. The rows: {table.source}."))
    return Section(f"Table {table.number}: {table.title} ({table.unit})", blocks)
