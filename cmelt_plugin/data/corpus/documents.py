"""A corpus folder's documents, ``train.documents.parquet`` and ``valid.documents.parquet``, and ``corpus.json`` about them.

``preprocess/text_corpus.py`` writes them; a folder that holds ``corpus.json`` is complete.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cmelt_plugin.data.directory.checksums import check_listed
from cmelt_plugin.data.files import read_object
from cmelt_plugin.errors import DataError

FORMAT = 1
CORPUS_FILE = "corpus.json"
SPLITS = ("train", "valid")
REPORT, TEXT, PUBMED = KINDS = ("report", "text", "pubmed")
"""Where a document is from: a manifest directory, a file of texts, PubMed."""
SCHEMA = pa.schema(
    [
        ("document", pa.string()),  # unique in the corpus: source and number or id within it
        ("kind", pa.string()),  # one of KINDS
        ("statements", pa.list_(pa.string())),  # one or more; joined by blanks they are the document
    ]
)
ROWS = 8192
"""Documents read at a time."""


def documents_path(folder: str | os.PathLike, split: str) -> Path:
    """``SPLIT.documents.parquet``."""
    return Path(folder) / f"{split}.documents.parquet"


def read_description(folder: str | os.PathLike) -> dict[str, Any]:
    """What ``corpus.json`` says of a corpus folder.

    Raises:
        DataError: there is none, it is damaged, or of another format.
    """
    path = Path(folder) / CORPUS_FILE
    if not path.is_file():
        raise DataError(f"{path}: no such file; a corpus folder is written by preprocess/text_corpus.py, and this one last")
    values = read_object(path)
    if values.get("format") != FORMAT:
        raise DataError(f"{path}: format {values.get('format')!r:.40}, this version reads format {FORMAT}")
    return values


def read_documents(folder: str | os.PathLike, split: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The documents of a split in order, so many at a time that memory stays small.

    Args:
        folder: the corpus.
        split: one of :data:`SPLITS`.
        columns: of :data:`SCHEMA`; None: all.

    Raises:
        DataError: no such split, or the file is damaged or was changed.
    """
    path = documents_path(folder, split)
    if not path.is_file():
        raise DataError(f"{path}: no such file; the corpus has no documents for {split} (preprocess/text_corpus.py)")
    check_listed(path)
    names = list(columns or SCHEMA.names)
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS, columns=names, use_threads=False):
                batch = batch.select(names).cast(pa.schema([SCHEMA.field(name) for name in names]))
                if any(column.null_count for column in batch.columns):
                    raise ValueError("values are missing")
                yield batch
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: unreadable ({error}); write it again with preprocess/text_corpus.py --overwrite") from None
