"""The documents of each source, read once and kept until the corpus is complete: a killed run goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cmelt_plugin.data.corpus.documents import ROWS
from cmelt_plugin.data.files import atomic_path, read_object, write_json
from cmelt_plugin.errors import DataError
from preprocess.corpus.document import Document, Source, is_held_out

WORK_FOLDER = ".parts"
ALGORITHM = 1
"""Counted up when the same files give other documents."""
SCHEMA = pa.schema([("document", pa.string()), ("held_out", pa.bool_()), ("statements", pa.list_(pa.string()))])


@dataclass(frozen=True)
class Part:
    """The documents of one source.

    Attributes:
        source: where they come from.
        folder: where they are kept.
        valid_share: share of units held out for validation.
        seed: of the choice.
    """

    source: Source
    folder: Path
    valid_share: float
    seed: int

    @property
    def _stem(self) -> Path:
        key = json.dumps([ALGORITHM, self.source.state(), self.valid_share, self.seed])
        return self.folder / hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def read(self) -> tuple[Path, dict[str, Any]]:
        """The file of documents and what is known of it: ``in``, ``left_out``; made where it is not there yet."""
        stem = self._stem
        documents, counts = stem.with_suffix(".parquet"), stem.with_suffix(".json")
        if documents.is_file() and counts.is_file():
            try:
                return documents, read_object(counts)
            except DataError:
                pass  # half a file, of before a power cut
        left_out: Counter[str] = Counter()
        n = 0
        with atomic_path(documents) as temporary, pq.ParquetWriter(temporary, SCHEMA) as writer:
            for batch in _batches(self.source.documents(left_out)):
                held_out = [is_held_out(document.units, self.valid_share, self.seed) for document in batch]
                columns = [[document.name for document in batch], held_out, [list(one.statements) for one in batch]]
                writer.write_table(pa.table(columns, schema=SCHEMA))
                n += len(batch)
        description = {"in": n + sum(left_out.values()), "left_out": dict(left_out)}
        write_json(counts, description)
        return documents, description


def _batches(documents: Iterator[Document]) -> Iterator[Sequence[Document]]:
    batch: list[Document] = []
    for document in documents:
        batch.append(document)
        if len(batch) == ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def read_part(numbered: tuple[int, Part]) -> tuple[int, Path, dict[str, Any]]:
    """Read one numbered part, in a worker process perhaps."""
    number, part = numbered
    return (number, *part.read())


def documents_of(path: Path) -> Iterator[tuple[str, bool, list[str]]]:
    """Name, whether it is held out, and statements of each document of a part."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS, use_threads=False):
            yield from zip(*(batch.column(name).to_pylist() for name in SCHEMA.names))
