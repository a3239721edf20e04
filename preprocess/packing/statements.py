"""The statements of the reports of a directory, as its records divide them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from cmelt_plugin.data.text.reports import read_reports, write_reports
from preprocess.packing.records import STATEMENTS_COLUMN


def divide(records: pa.Table) -> dict[str, list[str]]:
    """Report text → its statements.

    Records of one text may divide it differently; most of them decide, of equally many the first.

    Args:
        records: table of ``RECORDS_SCHEMA``; without :data:`~preprocess.data_sets.source.STATEMENTS_COLUMN` no text is known.
    """
    if STATEMENTS_COLUMN not in records.column_names:
        return {}
    encoded = records[STATEMENTS_COLUMN].combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    order = np.argsort(-np.bincount(encoded.indices.to_numpy(), minlength=len(encoded.dictionary)), kind="stable")
    chosen: dict[str, str] = {}
    for lines in encoded.dictionary.take(pa.array(order)).to_pylist():
        chosen.setdefault(lines.replace("\n", " "), lines)
    return {text: lines.split("\n") for text, lines in chosen.items() if text}


def update_statements(dest: Path, records: pa.Table) -> None:
    """Give a finished directory the statements of its records, where it was made before they were kept.

    Texts, counts and report ids stay, and with them token ids and negatives.
    """
    statements = divide(records)
    reports = read_reports(dest)
    texts = reports.texts.to_pylist()
    if any(text not in statements for text in texts):
        return
    wanted = [statements[text] for text in texts]
    if reports.statements_kept and reports.statements.to_pylist() == wanted:
        return
    write_reports(dest, reports.texts, reports.counts, wanted)
    print(
        f"{reports.path}: now has the {sum(map(len, wanted))} statements of its {len(texts)} reports; for their places among "
        "the token ids run preprocess/tokenizer.py again"
    )
