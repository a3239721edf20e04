"""Where in recordings something happens: a Parquet table of events, the ground truth of grounding.

Columns: ``record_id`` and ``kind`` (strings), ``onset`` and ``offset`` (int32, half open, in samples). The rate of the samples,
in Hz, is a key of the schema's metadata.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cmelt_plugin.errors import DataError
from cmelt_plugin.serialization.atomic_files import atomic_path

__all__ = ["EVENTS_FILE", "Event", "event_writer", "read_events"]

EVENTS_FILE = "events.parquet"
RATE = b"sample_rate"
SCHEMA = pa.schema([("record_id", pa.string()), ("kind", pa.string()), ("onset", pa.int32()), ("offset", pa.int32())])
_GROUP = 1 << 16  # rows written at once


class Event(NamedTuple):
    """One event of a recording.

    Attributes:
        kind: what it is.
        onset, offset: first sample and end.
    """

    kind: str
    onset: int
    offset: int


@contextmanager
def event_writer(path: str | os.PathLike, sample_rate: float) -> Iterator[Callable[[str, Iterable[Event]], None]]:
    """A function ``write(record_id, events)`` for the records of a data set; the file is whole or not there.

    Args:
        path: the file.
        sample_rate: Hz of the samples that onsets and offsets count.
    """
    schema = SCHEMA.with_metadata({RATE: f"{sample_rate:g}"})
    rows: list[tuple[str, str, int, int]] = []
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema) as file:

        def flush() -> None:
            columns = list(zip(*rows)) or [()] * len(schema)
            file.write_table(pa.table([pa.array(c, f.type) for c, f in zip(columns, schema)], schema=schema))
            rows.clear()

        def write(record_id: str, events: Iterable[Event]) -> None:
            rows.extend((record_id, *event) for event in events)
            if len(rows) >= _GROUP:
                flush()

        yield write
        flush()


def read_events(
    path: str | os.PathLike, record_ids: Iterable[str], sample_rate: float
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """The events of some records: record id → kind → (onset, offset) in the order of the file.

    Args:
        path: the file.
        record_ids: the records; one without events is left out.
        sample_rate: Hz of the samples in which onsets and offsets are wanted, whatever the file's.

    Raises:
        DataError: the file is missing, damaged or not a table of events.
    """
    wanted = pa.array(sorted(set(record_ids)), pa.string())
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    try:
        with pq.ParquetFile(Path(path)) as file:
            factor = sample_rate / _rate(file.schema_arrow)
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=SCHEMA.names).cast(SCHEMA)
                table = table.filter(pc.is_in(table["record_id"], wanted))
                if any(column.null_count for column in table.columns):
                    raise ValueError("values are missing")
                onset, offset = (np.asarray(table[name], dtype=np.float64) for name in ("onset", "offset"))
                if (onset < 0).any() or (offset <= onset).any():
                    raise ValueError("an event ends before it begins, or begins before its recording")
                names = (table[name].to_pylist() for name in ("record_id", "kind"))
                for record, kind, start, stop in zip(*names, (factor * onset).tolist(), (factor * offset).tolist()):
                    found.setdefault(record, {}).setdefault(kind, []).append((start, stop))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; preprocess/synthetic.py writes one into the cohort's folder") from None
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: not a readable table of events ({error}); write it again") from None
    return found


def _rate(schema: pa.Schema) -> float:
    """Raises ValueError where the file does not say, or nonsense."""
    text = (schema.metadata or {}).get(RATE)
    rate = float(text) if text is not None else math.nan
    if not 0 < rate < math.inf:
        raise ValueError(f"its metadata give no {RATE.decode()}")
    return rate
