"""Estimates of a measured number: the table, and each record."""

from __future__ import annotations

from cmelt_plugin.evaluation.plots.values import value_scatter
from cmelt_plugin.evaluation.regress.results import regression_table
from cmelt_plugin.evaluation.report.blocks import Block, Paragraph, Picture, Section, Table
from cmelt_plugin.evaluation.report.descriptions import data_set_name, heading
from cmelt_plugin.evaluation.result_files import VALUES_FILE, StoredResult


def regression_section(stored: StoredResult) -> Section | None:
    """What one result of the kind ``regression`` says; None for other kinds.

    Raises:
        DataError: the values beside it are damaged.
    """
    result = stored.result
    if result.kind != "regression":
        return None
    table = regression_table([(data_set_name(result), result)])
    blocks: list[Block] = [Table(table.head, table.rows, numeric=range(2, len(table.head)))]
    blocks += [Paragraph(note) for note in result.notes]
    arrays = stored.arrays(VALUES_FILE, ("target", "value"), "run the evaluation again")
    if arrays is not None:
        target, value = arrays
        name = str(result.settings.get("target", ""))
        figure = value_scatter(target, value, f"{name}, {len(target)} records", str(result.settings.get("unit") or ""))
        blocks.append(Picture(figure, f"estimated against measured {name}", "Dashed: where estimates are right."))
    return Section(heading(result), blocks)
