"""A manifest directory over recordings that another one has packed already.

PTB-XL's label sets, or the shipped and the exact labels of CSN, share their recordings; packing them once saves
gigabytes and hours.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from cmelt_plugin.data.files import fingerprint, read_json, write_json
from cmelt_plugin.data.manifest import Manifest, available_splits
from cmelt_plugin.data.store import RecordStore
from cmelt_plugin.errors import DataError
from preprocess.finish import MANIFEST_FILE, REJECTED_FILE, Places, print_summary, write_records_files, write_rejected
from preprocess.packing import clear, only_run

if TYPE_CHECKING:
    from preprocess.packing import PackingOptions


def reuse_store(
    records: pa.Table,
    store: Path,
    dest: Path,
    options: PackingOptions,
    *,
    data_set: str,
    command: str,
    notes: Sequence[str] = (),
) -> None:
    """Write a manifest directory whose recordings lie in another one; print its summary.

    How recordings were accepted and cut was decided when ``store`` was packed.

    Args:
        records: table of ``RECORDS_SCHEMA``; those the store lacks are listed in rejected.tsv.
        store: finished manifest directory of the same data set.
        dest: manifest directory to write.
        options: seed, shares and ``overwrite``.
        data_set, command, notes: as :func:`preprocess.packing.pack`.

    Raises:
        DataError: ``store`` is unfinished or another data set's, holds none of the records, or ``dest`` holds
            something else.
    """
    if not (store / MANIFEST_FILE).is_file():
        raise DataError(f"{store}: no {MANIFEST_FILE}; --store needs a manifest directory that a packing command finished")
    if dest.resolve() == store.resolve():
        raise DataError(f"{dest}: --dest and --store must be two folders")
    source = read_json(store / MANIFEST_FILE)
    if source["data_set"] != data_set:
        raise DataError(f"{store}: holds recordings of {source['data_set']}, not of {data_set}")
    place, ids = _places(store)
    position = ids.get_indexer(records["record_id"].to_pylist())
    kept, missing = np.flatnonzero(position >= 0), np.flatnonzero(position < 0)
    if len(kept) == 0:
        raise DataError(f"{store}: holds none of the {len(records)} records")
    plan = {
        "data_set": data_set,
        "store": fingerprint(store / MANIFEST_FILE),
        "records": len(records),
        "seed": options.seed,
        "fractions": list(options.fractions),
    }
    dest.mkdir(parents=True, exist_ok=True)
    with only_run(dest):
        if (dest / MANIFEST_FILE).is_file() and not options.overwrite:
            if read_json(dest / MANIFEST_FILE)["arguments"] != plan:
                raise DataError(f"{dest}: made with other arguments or from another store; give --overwrite to replace it")
        elif options.overwrite:
            clear(dest)
        elif any(dest.glob("records-*.npy")) or (any(dest.glob("*.tsv")) and not (dest / MANIFEST_FILE).is_file()):
            raise DataError(f"{dest}: holds something else; give --overwrite to replace it, or another --dest")
        write_rejected(dest / REJECTED_FILE, records, [(int(n), f"missing: not in {store}") for n in missing])
        chosen = position[kept]
        part = Places(place.files, *(column[chosen] for column in place[1:]))
        manifest = {
            "format": 1,
            "data_set": data_set,
            "command": command,
            "arguments": plan,
            "notes": [*notes, *source.get("notes", []), "recordings: those of another manifest directory (--store)"],
            "counts": {"in": len(records), "out": len(kept), "rejected": {"missing": len(missing)} if len(missing) else {}},
            "clipped_records": source.get("clipped_records", 0),
        }
        root = os.path.relpath(_store_root(store), dest)
        manifest.update(write_records_files(dest, records.take(pa.array(kept)), part, data_set, options, root))
        write_json(dest / MANIFEST_FILE, manifest)
    print_summary(dest, manifest)


def _store_root(directory: Path) -> Path:
    return Manifest.open(directory, available_splits(directory)[0]).store_root.resolve()


def _places(directory: Path) -> tuple[Places, pd.Index]:
    """Where every record of a manifest directory lies, and its id."""
    manifests = [Manifest.open(directory, split) for split in available_splits(directory)]
    if not manifests:
        raise DataError(f"{directory}: holds no split")
    metas = [manifest.meta(["record_id", "source_rate"]) for manifest in manifests]
    ids = pd.Index([record for meta in metas for record in meta["record_id"].to_pylist()])
    place = Places(
        RecordStore(manifests[0].store_root).files,
        np.concatenate([manifest.shard for manifest in manifests]),
        np.concatenate([manifest.row for manifest in manifests]),
        np.concatenate([manifest.n_samples for manifest in manifests]),
        np.concatenate([meta["source_rate"].to_numpy() for meta in metas]),
    )
    return place, ids
