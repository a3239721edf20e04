"""A manifest of which some records have echocardiograms, and the teacher's Gaussians of these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tiny import write_manifest
from tiny_teacher import write_tiny_teacher

DIM = 16


def add_echo(directory: Path, split: str, with_echo: range, n_studies: int = 5) -> None:
    """Give some records of a split an echocardiogram, ``e0``, ``e1``, … in turn; every other one loses its report."""
    path = directory / f"{split}.meta.parquet"
    table = pq.read_table(path).to_pydict()
    rows = len(table["record_id"])
    table["source"] = ["ecg_echo" if row in with_echo else name for row, name in enumerate(table["source"])]
    table["report_id"] = [-1 if row in with_echo and row % 2 else report for row, report in enumerate(table["report_id"])]
    table["teacher_id"] = [f"e{row % n_studies}" if row in with_echo else None for row in range(rows)]
    types = {"report_id": pa.int32(), "age": pa.float32(), "source_rate": pa.float32()}
    pq.write_table(pa.table({name: pa.array(values, types.get(name)) for name, values in table.items()}), path)


def write_echo_manifest(directory: Path, n_records: int = 24, dim: int = DIM, **options: Any) -> Path:
    """:func:`tiny.write_manifest` with two thirds of each split's records of ``ecg_echo``, and ``directory / "teacher"``."""
    splits = options.setdefault("splits", ("train", "valid"))
    write_manifest(directory, n_records, **options)
    for split in splits:
        add_echo(directory, split, range(n_records // 3, n_records))
    write_tiny_teacher(directory / "teacher", 5, dim)
    return directory
