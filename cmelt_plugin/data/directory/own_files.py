"""Which files make up a manifest directory, by their names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from cmelt_plugin.data.directory.checksums import CHECKSUMS_FILE, MANIFEST_FILE, read_checksums
from cmelt_plugin.data.files import read_object
from cmelt_plugin.errors import DataError

STORE_FILE = "store.json"
REPORTS_FILE = "reports.parquet"
REJECTED_FILE = "rejected.tsv"
IMPLAUSIBLE_FILE = "implausible.tsv"
FLAT_LEADS_FILE = "flat-leads.tsv"
LABELS_FILE = "labels.json"
PROMPTS_FILE = "prompts.json"
REJECTED_HEADER = "record_id\tpath\treason"
SINGLE = (
    MANIFEST_FILE,
    STORE_FILE,
    CHECKSUMS_FILE,
    REPORTS_FILE,
    REJECTED_FILE,
    IMPLAUSIBLE_FILE,
    FLAT_LEADS_FILE,
    LABELS_FILE,
    PROMPTS_FILE,
)
OF_SPLIT = (".tsv", ".meta.parquet", ".labels.npy", ".n3s.npy", ".n3s.json")
_SHARD = re.compile(r"records-\d{5,}\.npy")
_TOKENS = re.compile(r"(reports|prompts)\.[^/]+\.npz")
_REPORT_VECTORS = re.compile(r"reports\.[0-9a-f]{16}\.(npy|json)")
_DERIVED = re.compile(rf"prompts\.json|(reports|prompts)\.[^/]+\.npz|[^/]+\.n3s\.(npy|json)|{_REPORT_VECTORS.pattern}")
_TEMPORARY = re.compile(r"\.(?P<stem>.+)\.[0-9a-f]{8}\.tmp(?P<suffix>\.[^.]+)?")


def is_part(name: str) -> bool:
    """Whether readers take a file of this name for part of a manifest directory."""
    if name.startswith("."):
        return False
    patterns = (_SHARD, _TOKENS, _REPORT_VECTORS)
    return name in SINGLE or name.endswith(OF_SPLIT) or any(pattern.fullmatch(name) for pattern in patterns)


def is_derived(name: str) -> bool:
    """Whether it is computed from the others and knows from which: class texts, token ids, vectors of reports, negatives."""
    return bool(_DERIVED.fullmatch(name))


def target_of_temporary(name: str) -> str | None:
    """The file that a temporary file of ``atomic_path`` was to become; None for other names."""
    match = _TEMPORARY.fullmatch(name)
    return match["stem"] + (match["suffix"] or "") if match else None


def file_names(directory: str | os.PathLike) -> list[str]:
    """Names of the files of a folder that are not hidden, sorted; folders are left out, links to files are not."""
    with os.scandir(os.fspath(directory)) as entries:
        return sorted(e.name for e in entries if not e.name.startswith(".") and not e.is_dir())


def own_files(directory: str | os.PathLike) -> set[str]:
    """Files that commands of this package wrote: those listed, and those ``manifest.json`` and ``store.json`` imply.

    Only names of files that are there. Damaged descriptions imply nothing.
    """
    directory = Path(directory)
    there = set(file_names(directory))
    names = set()
    try:
        names |= set(read_checksums(directory) or ())
        names.add(CHECKSUMS_FILE)
    except DataError:
        pass
    manifest = _described(directory / MANIFEST_FILE)
    if manifest and isinstance(manifest.get("arguments"), dict) and isinstance(manifest.get("counts"), dict):
        names |= {*SINGLE} - {STORE_FILE}
        splits = manifest.get("splits")
        counts = splits.items() if isinstance(splits, dict) else ()
        for split in (split for split, count in counts if type(count) is int and count > 0):
            names |= {f"{split}{suffix}" for suffix in OF_SPLIT}
        names |= {name for name in there if _TOKENS.fullmatch(name) or _REPORT_VECTORS.fullmatch(name)}
    store = _described(directory / STORE_FILE)
    if store and isinstance(store.get("shards"), list) and store.get("unit") == "mV":
        names.add(STORE_FILE)
        named = (str(shard.get("file")) for shard in store["shards"] if isinstance(shard, dict))
        names |= {name for name in named if _SHARD.fullmatch(name)}
    if is_rejected_table(directory / REJECTED_FILE):
        names.add(REJECTED_FILE)
    return names & there


def is_rejected_table(path: Path) -> bool:
    """Whether a file begins as our tables of rejected records do; a run without usable records leaves nothing else."""
    try:
        with open(path, "rb") as handle:
            return handle.readline(200).rstrip(b"\r\n") == REJECTED_HEADER.encode()
    except OSError:
        return False


def _described(path: Path) -> dict[str, Any] | None:
    try:
        return read_object(path, checked=False) if path.is_file() else None
    except DataError:
        return None
