"""``SPLIT.tsv``, which lists the records of a split, and writing it together with ``SPLIT.meta.parquet``.

The format is fairseq's: the first line is the root of the store ("." and relative paths count from the manifest's own folder),
then one line per record, ``records-00003.npy:17<TAB>5000`` = shard file, row, real samples.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from cmelt_plugin.data.directory.checksums import check_listed, is_listed
from cmelt_plugin.data.directory.replacing import replacing
from cmelt_plugin.data.directory.split_meta import META_SCHEMA, OPTIONAL_SCHEMA, meta_path
from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.data.store.record_store import N_SAMPLES, RecordStore
from cmelt_plugin.errors import DataError

BLOCK_BYTES = 1 << 20


def write_split(
    directory: str | os.PathLike,
    split: str,
    files: Sequence[str],
    shard: np.ndarray,
    row: np.ndarray,
    n_samples: np.ndarray,
    meta: pa.Table,
    root: str = ".",
) -> None:
    """Write ``SPLIT.tsv`` and ``SPLIT.meta.parquet``.

    Args:
        directory: manifest directory.
        split: "train", "valid", "test" or another name.
        files: shard file names in the order of ``store.json``.
        shard: int [n], index into ``files``.
        row: int [n], row within the shard.
        n_samples: int [n], real samples.
        meta: n rows with the columns of :data:`META_SCHEMA`, and of :data:`OPTIONAL_SCHEMA` those there are.
        root: first line of the TSV: the store's folder, relative to ``directory`` or absolute.
    """
    if not len(shard) == len(row) == len(n_samples) == len(meta):
        raise ValueError(f"unequal lengths: {len(shard)}, {len(row)}, {len(n_samples)}, {len(meta)}")
    schema = pa.schema([*META_SCHEMA, *(field for field in OPTIONAL_SCHEMA if field.name in meta.column_names)])
    tsv, parquet = Path(directory) / f"{split}.tsv", meta_path(directory, split)
    with replacing(directory, [tsv.name, parquet.name]):
        with atomic_path(parquet) as temporary:
            pq.write_table(meta.select(schema.names).cast(schema), temporary)
        with atomic_path(tsv) as temporary:
            with open(temporary, "w", encoding="utf-8", newline="\n") as handle:
                handle.write(f"{root}\n")
                columns = (np.asarray(values).tolist() for values in (shard, row, n_samples))
                handle.writelines(f"{files[s]}:{r}\t{n}\n" for s, r, n in zip(*columns))


def read_root(path: Path) -> str:
    """First line of a TSV."""
    with open(path, "rb") as handle:
        line = handle.readline(1 << 16).rstrip(b"\r\n")
    try:
        root = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line 1: not UTF-8 ({error}); write it again with the command that made it") from None
    if not root or "\t" in root or "\0" in root:
        raise DataError(f"{path}, line 1: expected the root folder of the store")
    return root


def read_places(path: Path, store: RecordStore, lines: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shard number, row and real samples of every line, without a Python object per line, a few megabytes at a time."""
    limits = (len(store.files), store.rows.max(initial=0), N_SAMPLES)
    types = [np.int16 if limit <= np.iinfo(np.int16).max else np.int32 for limit in limits]
    files = pa.array(store.files, pa.string())
    # Pages of these arrays that no line is written to take no memory.
    columns = [np.empty(lines, dtype=dtype) for dtype in types]
    start = 0
    try:
        blocks = pyarrow.csv.open_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(
                skip_rows=1, column_names=["place", "n_samples"], block_size=BLOCK_BYTES, use_threads=False
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={"place": pa.string(), "n_samples": pa.int32()}, null_values=[], strings_can_be_null=False
            ),
        )
        for block in blocks:
            pieces = pc.list_flatten(pc.split_pattern(block.column(0), ":"))
            if len(pieces) != 2 * len(block):
                _explain(path, store)
            name = pieces.take(pa.array(np.arange(0, len(pieces), 2)))
            row = pieces.take(pa.array(np.arange(1, len(pieces), 2))).cast(pa.int32()).to_numpy()
            shard = pc.index_in(name, files).fill_null(-1).to_numpy()
            n_samples = block.column(1).to_numpy()
            outside = (shard < 0) | (row < 0) | (row >= store.rows[shard]) | (n_samples < 1) | (n_samples > N_SAMPLES)
            if outside.any():
                _explain(path, store)
            for column, values in zip(columns, (shard, row, n_samples)):
                column[start : start + len(block)] = values
            start += len(block)
    except MemoryError:
        raise
    except pa.ArrowException:
        _explain(path, store)
    if start == 0:
        _explain(path, store)
    return columns[0][:start], columns[1][:start], columns[2][:start]


def count_lines(path: Path) -> int:
    """As many lines as the file can have at most; in the same pass it is compared with its checksum."""
    digest, lines = hashlib.sha256() if is_listed(path) else None, 1
    with open(path, "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            lines += block.count(b"\n") + block.count(b"\r")
            if digest is not None:
                digest.update(block)
    if digest is not None:
        check_listed(path, "sha256:" + digest.hexdigest())
    return lines


def _explain(path: Path, store: RecordStore) -> NoReturn:
    """Find the first bad line of a manifest that could not be used, and say what is wrong with it."""
    rows = dict(zip(store.files, store.rows.tolist()))
    number = 1
    with open(path, encoding="utf-8", errors="replace") as handle:
        next(handle)
        for number, line in enumerate(handle, start=2):
            where = f"{path}, line {number}"
            location, tab, samples = line.rstrip("\r\n").partition("\t")
            name, colon, row = location.partition(":")
            if not (tab and colon and _is_number(row) and _is_number(samples)):
                raise DataError(f"{where}: expected 'SHARD:ROW<TAB>SAMPLES', found {line.rstrip()[:80]!r}")
            if name not in rows:
                raise DataError(f"{where}: shard {name} is not in {store.root / 'store.json'}")
            if int(row) >= rows[name]:
                raise DataError(f"{where}: row {row} of {name}, which has {rows[name]} rows")
            if not 1 <= int(samples) <= N_SAMPLES:
                raise DataError(f"{where}: {samples} samples, expected 1 to {N_SAMPLES}")
    if number == 1:
        raise DataError(f"{path}: lists no records")
    raise DataError(f"{path}: malformed")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
