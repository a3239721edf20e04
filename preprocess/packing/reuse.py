"""A manifest directory over recordings that another one has packed already.

PTB-XL's label sets, or the shipped and the exact labels of CSN, share their recordings; packing them once saves
gigabytes and hours.
"""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pandas as pd
import pyarrow as pa

from cmelt_plugin.data.directory.checksums import CHECKSUMS_FILE, check_listed
from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.directory.own_files import STORE_FILE
from cmelt_plugin.data.directory.replacing import directory_lock
from cmelt_plugin.data.files import fingerprint, read_json, read_object, write_json
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.store.ties import REUSED_NOTE
from cmelt_plugin.errors import DataError
from preprocess.packing.blocks import WORK_FOLDER
from preprocess.packing.destination import claim
from preprocess.packing.finish import (
    MANIFEST_FILE,
    REJECTED_FILE,
    Places,
    print_summary,
    write_doubtful,
    write_records_files,
    write_rejected,
)
from preprocess.packing.implausible import count_reasons, read_list
from preprocess.packing.options import PackingOptions
from preprocess.packing.pack import records_fingerprint
from preprocess.packing.recording import LIST, REJECT
from preprocess.packing.statements import divide, update_statements
from preprocess.packing.swap import remove_products, swap_in


def reuse_store(
    records: pa.Table,
    store: Path,
    dest: Path,
    options: PackingOptions,
    *,
    data_set: str,
    command: str,
    notes: Sequence[str] = (),
    extend: Callable[[Path], None] = lambda folder: None,
) -> None:
    """Write a manifest directory whose recordings lie in another one; print its summary.

    How recordings were accepted was decided when ``store`` was packed; records it lacks are listed in rejected.tsv with
    the reason it gave. As with packing, the same command finishes what a killed one began, and anything else in
    ``dest`` is refused.

    Args:
        records: table of ``RECORDS_SCHEMA``.
        store: finished manifest directory of the same data set.
        dest: manifest directory to write.
        options: seed, shares, crop, ``overwrite``, and whether doubtful recordings are refused.
        data_set, command, notes, extend: as :func:`preprocess.packing.pack`.

    Raises:
        DataError: ``store`` is unfinished, another data set's, was cropped in another way or holds none of the records,
            or ``dest`` holds something else or the recordings themselves.
    """
    source = _read_source(store, dest, options, data_set)
    root, place, ids = _places(store)
    if root == dest.resolve():  # through another directory over it; its shards would be replaced by nothing
        raise DataError(f"{dest}: holds the recordings of --store {store}; choose another --dest")
    doubtful = read_list(store)
    refused = _refused(store, source, doubtful, options)
    kept, position, rejected = _match(records["record_id"].to_pylist(), ids, store, refused)
    if len(kept) == 0:
        raise DataError(f"{store}: holds none of the {len(records)} records")
    plan: dict[str, Any] = {
        "data_set": data_set,
        "store": fingerprint(store / MANIFEST_FILE),
        "records": records_fingerprint(records),
        "signal": source["arguments"].get("signal"),
        "seed": options.seed,
        "fractions": list(options.fractions),
    }
    if refused:
        plan["implausible"] = REJECT
    work = dest / WORK_FOLDER
    with directory_lock(dest):
        if claim(dest, plan, options.overwrite):
            print_summary(dest, read_json(dest / MANIFEST_FILE))
            update_statements(dest, records)
            print(f"{dest} was complete already; nothing to do (--overwrite makes it again)")
            extend(dest)
            return
        remove_products(work)
        write_rejected(work / REJECTED_FILE, records, rejected)
        manifest = {
            "format": 1,
            "data_set": data_set,
            "command": command,
            "arguments": plan,
            "notes": [*notes, REUSED_NOTE],
            "recordings": {key: source[key] for key in ("command", "notes") if key in source},
            "counts": {
                "in": len(records),
                "out": len(kept),
                "rejected": dict(sorted(Counter(reason.split(":", 1)[0] for _, reason in rejected).items())),
            },
            "clipped_records": source.get("clipped_records", 0),
        }
        plausibility = source.get("plausibility", {})  # medians of all its records
        manifest["plausibility"] = {
            key: plausibility[key] for key in ("amplitude_mv", "peak_mv", "warnings") if key in plausibility
        }
        if doubtful is not None:
            wanted = records["record_id"].to_pylist()
            doubts = [(int(number), doubtful[wanted[number]]) for number in kept if wanted[number] in doubtful]
            manifest["plausibility"].update(doubtful=len(doubts), reasons=count_reasons(doubts))
            if options.signal.implausible == LIST:
                write_doubtful(work, records, doubts, data_set, options)
        part = Places(place.files, *(column[position] for column in place[1:]))
        # Resolved: through a symbolic link "../.." leads elsewhere.
        relative = os.path.relpath(root, dest.resolve())
        chosen = records.take(pa.array(kept))
        manifest.update(write_records_files(work, chosen, part, data_set, options, relative, statements=divide(records)))
        manifest["fingerprints"][STORE_FILE] = fingerprint(root / STORE_FILE)
        manifest["checksums"] = CHECKSUMS_FILE
        write_json(work / MANIFEST_FILE, manifest)
        extend(work)
        swap_in(dest)
    print_summary(dest, manifest)
    if rejected:
        print(f"warning: {store} lacks {len(rejected)} of {len(records)} records; rejected.tsv says why", file=sys.stderr)


def _read_source(store: Path, dest: Path, options: PackingOptions, data_set: str) -> dict[str, Any]:
    """``manifest.json`` of the store, checked."""
    if not (store / MANIFEST_FILE).is_file():
        raise DataError(f"{store}: no {MANIFEST_FILE}; --store needs a manifest directory that a packing command finished")
    if dest.resolve() == store.resolve():
        raise DataError(f"{dest}: --dest and --store must be two folders")
    source = read_object(store / MANIFEST_FILE)
    arguments = source.get("arguments")
    signal = arguments.get("signal") if isinstance(arguments, dict) else None
    if not isinstance(arguments, dict) or not isinstance(signal, (dict, type(None))):
        raise DataError(f"{store / MANIFEST_FILE}: not what a packing command writes; pack the records again")
    if source.get("data_set") != data_set:
        raise DataError(f"{store}: holds recordings of {source.get('data_set')}, not of {data_set}")
    crop = (signal or {}).get("crop", options.signal.crop)
    if crop != options.signal.crop:
        raise DataError(
            f"{store}: keeps the {crop} of longer recordings where the {options.signal.crop} is wanted; "
            "pack them again, without --store"
        )
    if (signal or {}).get("standardise_leads", False) != options.signal.standardise_leads:
        raise DataError(
            f"{store}: --standardise-leads must be given for both directories or for neither; its leads are "
            + ("in millivolts" if options.signal.standardise_leads else "standardised")
        )
    return source


def _places(directory: Path) -> tuple[Path, Places, pd.Index]:
    """The store's own folder; where every record of a manifest directory lies; and its id."""
    manifests = [Manifest.open(directory, split) for split in available_splits(directory)]
    if not manifests:
        raise DataError(f"{directory}: holds no split")
    metas = [manifest.meta(["record_id", "source_rate"]) for manifest in manifests]
    ids = pd.Index([record for meta in metas for record in meta["record_id"].to_pylist()])
    if ids.has_duplicates:
        raise DataError(f"{directory}: record {ids[ids.duplicated()][0]} occurs twice; make the directory again")
    place = Places(
        RecordStore(manifests[0].store_root).files,
        np.concatenate([manifest.shard for manifest in manifests]),
        np.concatenate([manifest.row for manifest in manifests]),
        np.concatenate([manifest.n_samples for manifest in manifests]),
        np.concatenate([meta["source_rate"].to_numpy() for meta in metas]),
    )
    return manifests[0].store_root.resolve(), place, ids


def _refused(
    store: Path, source: dict[str, Any], doubtful: dict[str, list[str]] | None, options: PackingOptions
) -> dict[str, list[str]]:
    """Records of the store that are refused as implausible, with their reasons.

    Raises:
        DataError: they are to be refused, and the store does not say which they are.
    """
    if options.signal.implausible != REJECT or (source["arguments"].get("signal") or {}).get("implausible") == REJECT:
        return {}
    if doubtful is None:
        raise DataError(
            f"{store}: does not list its doubtful recordings, as --implausible {REJECT} needs; pack it again, or "
            "leave the option out"
        )
    return doubtful


def _match(
    wanted: Sequence[str], ids: pd.Index, store: Path, refused: dict[str, list[str]]
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, str]]]:
    """Numbers of the records that the store holds, their position in ``ids``, and why the others are left out."""
    position = ids.get_indexer(pd.Index(list(wanted)))
    position[[record in refused for record in wanted]] = -1
    known = {**_known_reasons(store), **{record: f"implausible: {'; '.join(reasons)}" for record, reasons in refused.items()}}
    repeated = pd.Series(list(wanted)).duplicated().to_numpy()
    rejected = []
    for number in np.flatnonzero((position < 0) | repeated):
        if repeated[number]:
            rejected.append((int(number), "duplicate: an earlier record has the same id"))
        else:
            rejected.append((int(number), known.get(wanted[int(number)], f"store: not in {store}")))
    kept = np.flatnonzero((position >= 0) & ~repeated)
    return kept, position[kept], rejected


def _known_reasons(store: Path) -> dict[str, str]:
    """Record → why the store left it out."""
    path = store / REJECTED_FILE
    if not path.is_file():
        return {}
    check_listed(path)
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            rows = csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)
            return {row["record_id"]: row["reason"] for row in rows if row.get("record_id") and row.get("reason")}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a table of rejected records ({error}); copy it again, or delete it") from None
