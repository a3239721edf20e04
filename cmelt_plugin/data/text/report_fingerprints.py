"""By what token ids and negatives recognise the reports they were made from: the texts alone, in their order.

How often a report occurs, how it is divided and how Parquet stores it do not matter to them. Sidecars made before hold the
fingerprint of the whole file's bytes instead; it counts as long as the file is that one, or says that it took its place and
held the same texts (``former``).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cmelt_plugin.data.directory.checksums import check_listed, fingerprint, once
from cmelt_plugin.errors import DataError

METADATA = b"reports"
"""Key of the Parquet schema's metadata; its value is a JSON object with ``format``, ``statements`` and ``former``."""
_TEXTS_AT_A_TIME = 1 << 16


def string_array(column: pa.ChunkedArray | pa.Array) -> pa.StringArray:
    """A column of texts as one array."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return pa.concat_arrays([chunk.cast(pa.string()) for chunk in chunks]) if chunks else pa.array([], pa.string())


def fingerprint_of_texts(texts: pa.Array) -> str:
    """``sha256:`` and the digest over the lengths and the UTF-8 bytes of texts in their order."""
    digest = hashlib.sha256()
    _add_texts(digest, texts)
    return "sha256:" + digest.hexdigest()


def fingerprint_of_statements(statements: pa.ListArray) -> str:
    """``sha256:`` and the digest over the number, lengths and UTF-8 bytes of each report's statements."""
    digest = hashlib.sha256(pc.list_value_length(statements).to_numpy(zero_copy_only=False).astype("<i8").tobytes())
    _add_texts(digest, statements.flatten())
    return "sha256:" + digest.hexdigest()


def _add_texts(digest: Any, texts: pa.StringArray) -> None:
    digest.update(_places([texts]).tobytes())
    _add_bytes(digest, texts)


def _places(parts: Iterable[pa.StringArray]) -> np.ndarray:
    """int64 ``[n + 1]``: the byte at which each text begins, and the end of the last."""
    lengths = [pc.binary_length(texts).to_numpy(zero_copy_only=False) for texts in parts]
    return np.cumsum(np.concatenate([[0], *lengths]), dtype="<i8")


def _add_bytes(digest: Any, texts: pa.StringArray) -> None:
    if len(texts):
        offsets = np.frombuffer(texts.buffers()[1], dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
        digest.update(memoryview(texts.buffers()[2] or b"")[offsets[0] : offsets[-1]])


def _fingerprint_of_file(file: pq.ParquetFile) -> str:
    """:func:`fingerprint_of_texts` of the column ``text``, of which a part at a time is in memory."""

    def parts() -> Iterator[pa.StringArray]:
        for batch in file.iter_batches(_TEXTS_AT_A_TIME, columns=["text"], use_threads=False):
            yield batch.column("text").cast(pa.string())

    digest = hashlib.sha256(_places(parts()).tobytes())
    for texts in parts():
        _add_bytes(digest, texts)
    return "sha256:" + digest.hexdigest()


def known_fingerprints(path: str | os.PathLike) -> tuple[str, ...]:
    """All fingerprints by which sidecars may name the reports of a ``reports.parquet``; the first is for new ones.

    Raises:
        DataError: the file cannot be read, or is not the one that was written.
    """
    check_listed(path)

    def read(handle: Any) -> tuple[str, ...]:
        with pq.ParquetFile(handle) as file:
            texts = _fingerprint_of_file(file)
            former = read_metadata(file.schema_arrow).get("former")
        pa.default_memory_pool().release_unused()
        if not isinstance(former, dict) or former.get("texts") != texts or not isinstance(former.get("files"), list):
            return (texts,)  # a file that somebody changed keeps the metadata, but not the texts
        return (texts, *former["files"])

    try:
        return (*once("reports", path, read), fingerprint(path))
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: unreadable ({error}); write it again with the command that made it") from None


def read_metadata(schema: pa.Schema) -> dict[str, Any]:
    """What ``reports.parquet`` says of itself; nothing in format 1."""
    try:
        found = json.loads((schema.metadata or {}).get(METADATA, b"{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
