"""Report texts: their normal form and the table of unique texts, ``reports.parquet``."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cmelt_plugin.data.directory.checksums import check_listed
from cmelt_plugin.data.directory.own_files import REPORTS_FILE
from cmelt_plugin.data.directory.replacing import replacing
from cmelt_plugin.data.files import atomic_path, fingerprint
from cmelt_plugin.errors import DataError

__all__ = ["REPORTS_FILE", "Reports", "count_reports", "normalise_report", "read_reports", "write_reports"]

# A mark between two digits belongs to a number ("0.2 mV", "2:1 block", "60-100"); any other separates words.
_PUNCTUATION = re.compile(r"(?<!\d)[^\w\s]|[^\w\s](?!\d)|[^\w\s.,:/+\-]|_")
_SPACE = re.compile(r"\s+")


def normalise_report(text: str) -> str:
    """Lower-case a report, write ``ekg`` as ``ecg``, remove punctuation and squeeze blanks.

    Punctuation becomes a blank, so that "qt-verlängerung" stays two words, except ``. , : / + -`` between two digits.
    Letters and digits of every script stay. Nothing is shortened. Applying it twice changes nothing.

    Source: C-MELT paper, report cleaning (join the columns, lower-case, ekg to ecg, strip, remove punctuation).
    """
    text = unicodedata.normalize("NFC", text).lower()
    text = _SPACE.sub(" ", _PUNCTUATION.sub(" ", text))
    return text.replace("ekg", "ecg").strip()


@dataclass(frozen=True)
class Reports:
    """Unique normalised reports of a manifest directory; ``report_id`` is the position in both arrays."""

    texts: pa.StringArray
    counts: np.ndarray
    """int64 [n]: how many records of all splits together carry the text."""
    fingerprint: str
    path: Path

    def __len__(self) -> int:
        return len(self.texts)


def write_reports(directory: str | os.PathLike, texts: Sequence[str] | pa.Array, counts: Sequence[int]) -> Path:
    """Write ``reports.parquet`` with columns report_id int32, text string, count int64; return its path."""
    table = pa.table(
        {
            "report_id": pa.array(np.arange(len(texts), dtype=np.int32)),
            "text": texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string()),
            "count": pa.array(np.asarray(counts, dtype=np.int64)),
        }
    )
    path = Path(directory) / REPORTS_FILE
    with replacing(directory, [REPORTS_FILE]), atomic_path(path) as temporary:
        pq.write_table(table, temporary)
    return path


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
    """Read ``reports.parquet`` of a manifest directory.

    Raises:
        DataError: the file is missing, unreadable, or its report ids are not 0, 1, 2, ...
    """
    path = Path(directory) / REPORTS_FILE
    if not path.is_file():
        raise DataError(f"{path}: no such file; a manifest directory made by a command of preprocess/ has one")
    check_listed(path)
    try:
        table = pq.read_table(path, columns=["report_id", "text", "count"]).combine_chunks()
        ids = table["report_id"].to_numpy()
        texts = pa.concat_arrays(table["text"].cast(pa.string()).chunks) if len(ids) else pa.array([], pa.string())
        counts = table["count"].to_numpy().astype(np.int64)
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: unreadable ({error}); write it again with the command that made it") from None
    if texts.null_count or table["report_id"].null_count or len(counts) and counts.min() < 0:
        raise DataError(f"{path}: a text or count is missing; write it again with the command that made it")
    if not np.array_equal(ids, np.arange(len(ids))):
        raise DataError(f"{path}: report_id must count 0, 1, 2, ... in row order")
    return Reports(texts, counts, fingerprint(path), path)
