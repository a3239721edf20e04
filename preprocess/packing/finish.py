"""The last step of packing: the results of all blocks become the files of the manifest directory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from cmelt_plugin.data.directory.checksums import CHECKSUMS_FILE, MANIFEST_FILE
from cmelt_plugin.data.directory.own_files import IMPLAUSIBLE_FILE, REJECTED_FILE, REJECTED_HEADER, STORE_FILE
from cmelt_plugin.data.directory.split_files import write_split
from cmelt_plugin.data.directory.split_meta import OPTIONAL_SCHEMA
from cmelt_plugin.data.files import atomic_path, fingerprint, read_json, write_json
from cmelt_plugin.data.store.shard_writer import write_store_json
from cmelt_plugin.data.text.reports import REPORTS_FILE, write_reports
from preprocess.packing.blocks import Block
from preprocess.packing.implausible import Measured, print_plausibility, summarise, write_list
from preprocess.packing.options import PackingOptions
from preprocess.packing.recording import LIST
from preprocess.packing.records import SOURCE_COLUMN
from preprocess.packing.splits import SPLITS, assign_splits
from preprocess.packing.statements import divide

ABOUT_FILES = "files: "  # how notes of the readers begin


__all__ = ["MANIFEST_FILE", "REJECTED_FILE", "Places", "finish", "print_summary", "write_records_files", "write_rejected"]


def finish(
    records: pa.Table,
    blocks: Sequence[Block],
    work: Path,
    plan: dict[str, Any],
    options: PackingOptions,
    *,
    command: str,
    notes: Sequence[str],
) -> dict[str, Any]:
    """Write store.json, reports.parquet, the splits, rejected.tsv and, last, manifest.json; return what it holds.

    ``work`` is the folder of the shards; :func:`preprocess.packing.swap.swap_in` makes it the directory.

    Without a single usable record only rejected.tsv is written. A split without records gets no files.
    """
    results = [read_json(block.result_path) for block in blocks]
    measured = Measured.joined([Measured.of(result.pop("measured")) for result in results])
    doubts = [(number, reasons) for result in results for number, reasons in result["doubts"]]
    rejected = [entry for result in results for entry in result["rejected"]]
    rows = [entry for result in results for entry in result["rows"]]
    if len(rows) + len(rejected) != len(records):
        raise RuntimeError(f"{len(records)} records in, {len(rows)} packed, {len(rejected)} rejected")
    write_rejected(work / REJECTED_FILE, records, rejected)
    counts = {
        "in": len(records),
        "out": len(rows),
        "rejected": dict(sorted(Counter(reason.split(":", 1)[0] for _, reason in rejected).items())),
    }
    manifest = {
        "format": 1,
        "data_set": plan["data_set"],
        "command": command,
        "arguments": plan,
        "notes": [*notes, *_reader_notes(results)],
        "counts": counts,
        "plausibility": summarise(measured, doubts, _sources(records), plan["data_set"]),
    }
    if not rows:
        return manifest

    number, n_samples, rate, clipped = (np.array(column) for column in zip(*rows))
    shards = [result["shard"] for result in results if result["rows"]]
    shard = np.repeat(np.arange(len(shards)), [entry["rows"] for entry in shards])
    row = np.concatenate([np.arange(entry["rows"]) for entry in shards])
    clipped_records = int(np.count_nonzero(clipped))
    write_store_json(work, shards, clipped_records)
    place = Places([entry["file"] for entry in shards], shard, row, n_samples, rate.astype(np.float32))
    manifest.update(clipped_records=clipped_records)
    kept = records.take(pa.array(number))
    manifest.update(write_records_files(work, kept, place, plan["data_set"], options, statements=divide(records)))
    if options.signal.implausible == LIST:
        write_doubtful(work, records, doubts, plan["data_set"], options)
    manifest["fingerprints"][STORE_FILE] = fingerprint(work / STORE_FILE)
    manifest["checksums"] = CHECKSUMS_FILE
    write_json(work / MANIFEST_FILE, manifest)
    return manifest


class Places(NamedTuple):
    """Where the recordings of n records lie in a store."""

    files: Sequence[str]
    """Shards in the order of ``store.json``."""
    shard: np.ndarray
    row: np.ndarray
    n_samples: np.ndarray
    rate: np.ndarray
    """float32 [n], Hz of the original files."""


def write_records_files(
    work: Path,
    kept: pa.Table,
    place: Places,
    data_set: str,
    options: PackingOptions,
    root: str = ".",
    *,
    statements: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Write reports.parquet and the splits of the records ``kept``; return sizes, numbers of reports, fingerprints.

    Args:
        work: work folder in the manifest directory.
        kept: n rows of ``RECORDS_SCHEMA``, with columns of ``OPTIONAL_SCHEMA`` where there are any; records without a split get
            one by subject.
        place: where their recordings are.
        data_set: name for the meta files.
        options: seed and shares of the splits.
        root: the store's folder as it shall stand in the TSV.
        statements: those of each report text.
    """
    report_id, sizes_of_reports = _write_reports(work, kept["report"], statements)
    meta = pa.table(
        {
            **{name: kept[name] for name in ("record_id", "subject_id", "sex", "age", "time")},
            "report_id": report_id,
            "source": pa.array(_sources(kept) or [data_set] * len(kept), pa.string()),
            "source_rate": pa.array(place.rate),
            **{name: kept[name] for name in OPTIONAL_SCHEMA.names if name in kept.column_names},
        }
    )
    split = _splits(kept, options)
    sizes, prints = {}, {REPORTS_FILE: fingerprint(work / REPORTS_FILE)}
    for name in SPLITS:
        chosen = np.flatnonzero(split == name)
        sizes[name] = len(chosen)
        if len(chosen):
            columns = (place.shard[chosen], place.row[chosen], place.n_samples[chosen])
            write_split(work, name, place.files, *columns, meta.take(pa.array(chosen)), root)
            prints[f"{name}.tsv"] = fingerprint(work / f"{name}.tsv")
    if sum(sizes.values()) != len(kept):
        raise RuntimeError(f"{len(kept)} records packed, {sizes} in the splits")
    return {"splits": sizes, **sizes_of_reports, "fingerprints": prints}


def _reader_notes(results: Sequence[dict[str, Any]]) -> list[str]:
    """What readers assumed or could not verify, with the number of records it is true of, the most frequent first."""
    counts: Counter[str] = Counter()
    for result in results:
        counts.update(result.get("notes", {}))
    return [
        f"{ABOUT_FILES}{note}: {count} records" for note, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def write_doubtful(
    dest: Path, records: pa.Table, doubts: Sequence[tuple[int, Sequence[str]]], data_set: str, options: PackingOptions
) -> None:
    """Write implausible.tsv.

    Args:
        dest: manifest directory.
        records: table of ``RECORDS_SCHEMA``.
        doubts: number of the record and its reasons.
        data_set: source where ``records`` does not say.
        options: seed and shares of the splits.
    """
    doubtful = records.take(pa.array([number for number, _ in doubts], pa.int64()))
    ids, paths = doubtful["record_id"].to_pylist(), doubtful["path"].to_pylist()
    sources = _sources(doubtful) or [data_set] * len(doubtful)
    reasons = ["; ".join(reasons) for _, reasons in doubts]
    write_list(dest / IMPLAUSIBLE_FILE, zip(ids, paths, _splits(doubtful, options).tolist(), sources, reasons))


def _sources(records: pa.Table) -> list[str] | None:
    return records[SOURCE_COLUMN].to_pylist() if SOURCE_COLUMN in records.column_names else None


def _splits(records: pa.Table, options: PackingOptions) -> np.ndarray:
    """Split of each record: its own, else by its subject."""
    split = np.array(records["split"].to_pylist(), dtype=object)
    unassigned = split == ""
    if unassigned.any():
        subjects = records["subject_id"].filter(pa.array(unassigned)).to_pylist()
        split[unassigned] = assign_splits(subjects, options.seed, options.fractions)
    return split


def print_summary(dest: Path, manifest: dict[str, Any]) -> None:
    """Print the counts of a manifest directory, and loudly what is wrong with its amplitudes."""
    counts = manifest["counts"]
    rejected = counts["rejected"]
    print(f"{dest}: {counts['in']} records in = {counts['out']} out + {sum(rejected.values())} rejected")
    for code, count in rejected.items():
        print(f"  rejected, {code}: {count}")
    if "missing" in rejected:
        print("  files are missing: complete the data set, then run again with --overwrite")
    for split, count in manifest.get("splits", {}).items():
        print(f"  {split}: {count} records" + ("" if count else " (no file written)"))
    if counts["out"]:
        statements = f" of {manifest['statements']} statements" if "statements" in manifest else ""
        print(
            f"  unique reports: {manifest['reports']}{statements}; records clipped at 32.767 mV: {manifest['clipped_records']}"
        )
    for note in manifest["notes"]:
        if note.startswith(ABOUT_FILES):
            print(f"  {note}")
    print_plausibility(dest, manifest.get("plausibility") or {})


def write_rejected(path: Path, records: pa.Table, rejected: Sequence[tuple[int, str]]) -> None:
    """Write the table of records left out; ``rejected`` holds (number of the record, reason)."""
    chosen = records.select(["record_id", "path"]).take(pa.array([number for number, _ in rejected], pa.int64()))
    with atomic_path(path) as temporary:
        with open(temporary, "w", encoding="utf-8", newline="\n") as handle:
            handle.write(f"{REJECTED_HEADER}\n")
            for record_id, place, (_, reason) in zip(*(c.to_pylist() for c in chosen.columns), rejected):
                handle.write("\t".join(" ".join(text.split()) for text in (record_id, place, reason)) + "\n")


def _write_reports(
    work: Path, texts: pa.ChunkedArray, statements: Mapping[str, Sequence[str]]
) -> tuple[np.ndarray, dict[str, int]]:
    """Write the unique texts in order of first appearance; return each record's report id, and how many there are of what."""
    encoded = texts.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    unique, index = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    named = np.array([text != "" for text in unique])
    new_id = np.where(named, np.cumsum(named) - 1, -1).astype(np.int32)
    counts = np.bincount(index, minlength=len(unique))[named]
    listed = [statements[text] for text in unique if text]
    write_reports(work, [text for text in unique if text], counts, listed, replaced=work.parent)
    return new_id[index], {"reports": len(listed), "statements": sum(map(len, listed))}
