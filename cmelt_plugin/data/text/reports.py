"""Report texts: their normal form and the table of unique texts with their statements, ``reports.parquet``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cmelt_plugin.data.directory.checksums import check_listed
from cmelt_plugin.data.directory.own_files import REPORTS_FILE
from cmelt_plugin.data.directory.replacing import replacing
from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.data.text.normal_form import normalise_report
from cmelt_plugin.data.text.report_fingerprints import (
    METADATA,
    fingerprint_of_statements,
    fingerprint_of_texts,
    known_fingerprints,
    read_metadata,
    string_array,
)
from cmelt_plugin.data.text.sentences import split_statements
from cmelt_plugin.errors import DataError

__all__ = [
    "REPORTS_FILE",
    "Reports",
    "count_reports",
    "normal_statements",
    "normalise_report",
    "read_reports",
    "write_reports",
]

FORMAT = 2
STATEMENTS = pa.list_(pa.string())


def normal_statements(report: str | Sequence[str]) -> list[str]:
    """The normalised statements of a report; joined by a blank they are its normalised text.

    Args:
        report: a free text, which :func:`~cmelt_plugin.data.text.sentences.split_statements` divides, or fields that are one
            statement each. Those without a letter or digit are none.
    """
    parts = split_statements(report) if isinstance(report, str) else report
    return [text for text in map(normalise_report, parts) if text]


@dataclass(frozen=True)
class Reports:
    """Unique normalised reports of a manifest directory; ``report_id`` is the position in all arrays."""

    texts: pa.StringArray
    counts: np.ndarray
    """int64 [n]: how many records of all splits together carry the text."""
    statements: pa.ListArray
    """Of strings, one or more for each report; joined by a blank they are its text."""
    statements_kept: bool
    """Whether the statements are those of the source; else their borders were lost and a report is one statement as a rule."""
    path: Path
    format: int = FORMAT

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def fingerprint(self) -> str:
        """Of the texts: what files made from them keep."""
        return fingerprint_of_texts(self.texts)

    @property
    def statements_fingerprint(self) -> str:
        """Of the statements."""
        return fingerprint_of_statements(self.statements)


def write_reports(
    directory: str | os.PathLike,
    texts: Sequence[str] | pa.Array,
    counts: Sequence[int] | np.ndarray,
    statements: Sequence[Sequence[str]] | pa.ListArray | None = None,
    *,
    statements_kept: bool = True,
    replaced: str | os.PathLike | None = None,
) -> Path:
    """Write ``reports.parquet``: report_id int32, text string, count int64, statements list of strings; return its path.

    Args:
        directory: manifest directory.
        texts: n normalised reports.
        counts: records that carry each.
        statements: of each report, which joined by a blank make up its text; None: every report is one, borders unknown.
        statements_kept: whether these are the statements of the source.
        replaced: manifest directory whose reports these replace. Where the texts are the same, token ids and negatives that
            name the former file by its bytes stay valid.
    """
    texts = string_array(texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string()))
    if statements is None:
        listed, statements_kept = _one_each(texts), False
    else:
        listed = pa.array(statements, STATEMENTS) if not isinstance(statements, pa.Array) else statements.cast(STATEMENTS)
    _check_statements(listed, texts)
    path = Path(directory) / REPORTS_FILE
    about = {
        "format": FORMAT,
        "statements": "kept" if statements_kept else "lost",
        "former": {"texts": fingerprint_of_texts(texts), "files": _former(replaced or directory, texts)},
    }
    table = pa.table(
        {
            "report_id": pa.array(np.arange(len(texts), dtype=np.int32)),
            "text": texts,
            "count": pa.array(np.asarray(counts, dtype=np.int64)),
            "statements": listed,
        }
    ).replace_schema_metadata({METADATA: json.dumps(about)})
    with replacing(directory, [REPORTS_FILE]), atomic_path(path) as temporary:
        pq.write_table(table, temporary)
    return path


def _one_each(texts: pa.StringArray) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.arange(len(texts) + 1, dtype=np.int32)), texts).cast(STATEMENTS)


def _check_statements(statements: pa.ListArray, texts: pa.StringArray) -> None:
    """Raises ValueError where they do not make up the texts."""
    if len(statements) != len(texts) or statements.null_count or statements.flatten().null_count:
        raise ValueError(f"statements of {len(statements)} reports, some missing, for {len(texts)} texts")
    if len(texts) and pc.min(pc.list_value_length(statements)).as_py() == 0:
        raise ValueError("a report without a statement")
    if not pc.binary_join(statements, " ").equals(texts):
        raise ValueError("statements that joined by blanks are not the text")


def _former(directory: str | os.PathLike, texts: pa.StringArray) -> list[str]:
    """Bytes' fingerprints by which older sidecars know the reports of a directory, as far as those are these very texts."""
    path = Path(directory) / REPORTS_FILE
    if not path.is_file():
        return []
    try:
        present, *former, of_bytes = known_fingerprints(path)
        is_format_1 = METADATA not in (pq.read_schema(path).metadata or {})
    except DataError:
        return []
    return [*former, *([of_bytes] if is_format_1 else [])] if present == fingerprint_of_texts(texts) else []


def count_reports(path: Path) -> int:
    """Rows of ``reports.parquet``. Raises DataError where it is unreadable or has changed since it was written."""
    check_listed(path)
    try:
        return pq.read_metadata(path).num_rows
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: unreadable ({error}); write it again with the command that made it") from None


def read_reports(directory: str | os.PathLike) -> Reports:
    """Read ``reports.parquet`` of a manifest directory; in format 1, which kept no statements, each report is one.

    Raises:
        DataError: the file is missing, unreadable, of a later format, its report ids are not 0, 1, 2, ..., or its statements
            do not make up its texts.
    """
    path = Path(directory) / REPORTS_FILE
    if not path.is_file():
        raise DataError(f"{path}: no such file; a manifest directory made by a command of preprocess/ has one")
    check_listed(path)
    try:
        table = pq.read_table(path)
        about = read_metadata(table.schema)
        found = about.get("format", FORMAT if "statements" in table.column_names else 1)
        if found not in (1, FORMAT):
            raise ValueError(f"format {found}, this version reads formats 1 and {FORMAT}")
        ids, texts = table["report_id"].to_numpy(), string_array(table["text"])
        counts = table["count"].to_numpy().astype(np.int64)
        if texts.null_count or table["report_id"].null_count or len(counts) and counts.min() < 0:
            raise ValueError("a text or count is missing")
        if "statements" in table.column_names:
            statements = table["statements"].cast(STATEMENTS).combine_chunks()
            if isinstance(statements, pa.ChunkedArray):  # of no rows
                statements = pa.array([], STATEMENTS)
            _check_statements(statements, texts)
        else:
            statements = _one_each(texts)
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: unreadable ({error}); write it again with the command that made it") from None
    if not np.array_equal(ids, np.arange(len(ids))):
        raise DataError(f"{path}: report_id must count 0, 1, 2, ... in row order")
    return Reports(texts, counts, statements, about.get("statements") == "kept", path, found)
