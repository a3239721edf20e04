"""Reports that a model wrote: the tables, and some of the texts."""

from __future__ import annotations

import json
from pathlib import Path

from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.generate.tables import findings_table, generation_table
from cmelt_plugin.evaluation.report.blocks import Block, Paragraph, Section, Table
from cmelt_plugin.evaluation.report.descriptions import data_set_name, heading
from cmelt_plugin.evaluation.result_files import GENERATED_FILE, StoredResult
from cmelt_plugin.tables import TextTable

SHOWN = 12  # texts


def generation_section(stored: StoredResult) -> Section | None:
    """What one result of the kind ``generation`` says; None for other kinds.

    Raises:
        DataError: the texts beside it are damaged.
    """
    result = stored.result
    if result.kind != "generation":
        return None
    name = data_set_name(result)
    tables = [_table(generation_table([(name, result)])), _table(findings_table(name, result))]
    blocks: list[Block] = [*tables, *(Paragraph(note) for note in result.notes)]
    texts = _texts(stored.folder / GENERATED_FILE)
    if texts:
        blocks += [Paragraph("The first texts:"), Table(["record", "reference", "generated"], texts)]
    return Section(heading(result), blocks)


def _table(table: TextTable) -> Table:
    return Table(table.head, table.rows, numeric=range(1, len(table.head)))


def _texts(path: Path) -> list[list[str]]:
    """Record, reference and generated report of the first records; empty where the texts were not kept."""
    rows: list[list[str]] = []
    if not path.is_file():
        return rows
    try:
        with open(path, encoding="utf-8") as handle:
            for line, _ in zip(handle, range(SHOWN)):
                values = json.loads(line)
                rows.append([str(values[name]) for name in ("record_id", "reference", "generated")])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}, line {len(rows) + 1}: damaged ({error}); run the evaluation again") from None
    return rows
