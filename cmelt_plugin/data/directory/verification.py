"""Every byte of a manifest directory compared with what was written, and everything in it opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cmelt_plugin.data.batches.negatives import NegativeTable
from cmelt_plugin.data.directory.checksums import CHECKSUMS_FILE, MANIFEST_FILE, Entry, check_whole, read_checksums
from cmelt_plugin.data.directory.class_labels import read_class_names
from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.directory.own_files import LABELS_FILE, PROMPTS_FILE, REPORTS_FILE, STORE_FILE, file_names, is_part
from cmelt_plugin.data.files import read_object
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.store.ties import check_store_tie
from cmelt_plugin.data.text.report_fingerprints import known_fingerprints
from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError

COPY = "copy it again, or write it again with the command that made it"


@dataclass
class Findings:
    """What was found.

    Attributes:
        findings: one line each, with what to do.
        unchecked: files, or ties, of which nothing is known.
        files: how many files were compared byte by byte.
        bytes: their size.
        shards: how many of them are shards.
    """

    findings: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    shards: int = 0
    faulty: set[Path] = field(default_factory=set)

    def finding(self, path: Path, line: str) -> None:
        """Add a finding about a file, unless there is one."""
        if path not in self.faulty and line not in self.findings:
            self.findings.append(line)
        self.faulty.add(path)

    def attempt(self, path: Path, call: Callable[[], Any]) -> Any:
        """The call's answer; what it refuses is a finding about ``path``, unless that or a file it names has one."""
        try:
            return call()
        except DataError as error:
            known = any(str(faulty) in str(error) for faulty in self.faulty)
            self.faulty.add(path) if known else self.finding(path, str(error))
        except OSError as error:
            self.finding(path, f"{error.filename or path}: cannot be read ({error.strerror or error}); {COPY}")
        return None

    def summary(self) -> str:
        """Counts in words."""
        size = f"{self.bytes / 1e6:,.1f} MB"
        return f"{self.files} files compared, {self.shards} of them shards, {size}; {len(self.unchecked)} not checkable"


def check_directory(directory: Path, progress: Any = None) -> Findings:
    """Check a manifest directory and the store it points to.

    Args:
        directory: the directory.
        progress: an open progress bar of bytes, such as tqdm's; None: silent.
    """
    result = Findings()

    def is_whole() -> bool:
        check_whole(directory)
        return True

    if not result.attempt(directory, is_whole):
        return result
    listed = result.attempt(directory / CHECKSUMS_FILE, lambda: read_checksums(directory))
    stores = {os.path.realpath(directory): directory}
    jobs = _listed_files(directory, listed or {}, result)
    for split in available_splits(directory):
        root = _store_root(directory / f"{split}.tsv")
        if root is not None:
            stores.setdefault(os.path.realpath(root), root)
    jobs.update(_noted_files(directory, jobs, result))
    for store in stores.values():
        if (store / STORE_FILE).is_file():
            jobs.update(_shards(store, jobs, result))
    if progress is not None:
        progress.total = sum(path.stat().st_size for path in jobs)
        progress.refresh()
    for path, (entry, is_shard) in sorted(jobs.items()):
        _compare(path, entry, is_shard, result, progress)
    _unknown(directory, jobs, result)
    _open_everything(directory, result)
    return result


def _listed_files(directory: Path, listed: dict[str, Entry], result: Findings) -> dict[Path, tuple[Entry, bool]]:
    jobs = {}
    for name, entry in listed.items():
        path = directory / name
        if not path.is_file():
            result.finding(path, f"{path}: missing, although {CHECKSUMS_FILE} lists it; {COPY}")
        else:
            jobs[path] = entry, False
    return jobs


def _noted_files(directory: Path, jobs: dict[Path, Any], result: Findings) -> dict[Path, tuple[Entry, bool]]:
    """Files that are not listed, but whose fingerprints an older ``manifest.json`` holds."""
    path = directory / MANIFEST_FILE
    if not path.is_file():
        return {}
    manifest = result.attempt(path, lambda: read_object(path)) or {}
    prints = manifest.get("fingerprints")
    jobs_of_notes = {}
    for name, digest in prints.items() if isinstance(prints, dict) else ():
        other = directory / str(name)
        if (
            other not in jobs
            and isinstance(digest, str)
            and is_part(str(name))
            and other.is_file()
            and other.parent == directory
            and not (name == REPORTS_FILE and _took_its_place(other, digest))
        ):
            jobs_of_notes[other] = Entry(other.stat().st_size, digest), False
    return jobs_of_notes


def _took_its_place(reports: Path, digest: str) -> bool:
    """Whether these reports replaced, with their statements, the file of this fingerprint."""
    try:
        return digest in known_fingerprints(reports)[1:-1]
    except DataError:
        return False


def _shards(store: Path, jobs: dict[Path, Any], result: Findings) -> dict[Path, tuple[Entry, bool]]:
    """Shards of a store with the digests of its ``store.json``, which must be those of the list."""
    opened = result.attempt(store / STORE_FILE, lambda: RecordStore(store))
    if opened is None:
        return {}
    jobs_of_shards = {}
    for shard in read_object(store / STORE_FILE)["shards"]:
        path, digest = store / shard["file"], shard.get("sha256")
        if not path.is_file():
            result.finding(path, f"{path}: shard is missing; {COPY}")
            continue
        if path in jobs and jobs[path][0].sha256 != digest:
            result.finding(
                path, f"{path}: {STORE_FILE} and {CHECKSUMS_FILE} name different digests of it; pack the records again"
            )
        if isinstance(digest, str):
            size = jobs[path][0].bytes if path in jobs else path.stat().st_size
            jobs_of_shards[path] = Entry(size, digest), True
        else:
            result.unchecked.append(f"{path}: {STORE_FILE} has no digest of it")
    return jobs_of_shards


def _compare(path: Path, entry: Entry, is_shard: bool, result: Findings, progress: Any) -> None:
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "rb") as handle:
            for block in iter(lambda: handle.read(1 << 20), b""):
                digest.update(block)
                size += len(block)
                if progress is not None:
                    progress.update(len(block))
    except OSError as error:
        result.finding(path, f"{path}: cannot be read ({error.strerror or error}); {COPY}")
        return
    result.files += 1
    result.shards += is_shard
    result.bytes += size
    if size != entry.bytes:
        result.finding(path, f"{path}: {size} bytes, {entry.bytes} were written; {COPY}")
    elif "sha256:" + digest.hexdigest() != entry.sha256:
        result.finding(path, f"{path}: not the bytes that were written; {COPY}")


def _unknown(directory: Path, jobs: dict[Path, Any], result: Findings) -> None:
    for name in file_names(directory):
        path = directory / name
        if is_part(name) and name != CHECKSUMS_FILE and path not in jobs and path not in result.faulty:
            result.unchecked.append(
                f"{path}: without checksum; if it is as you want it: python -m cmelt_plugin.verify {directory} --accept {name}"
            )


def _store_root(tsv: Path) -> Path | None:
    """Folder of the recordings, as far as the first line says."""
    with open(tsv, "rb") as handle:
        line = handle.readline(1 << 12).rstrip(b"\r\n")
    try:
        root = tsv.parent / line.decode("utf-8")
        return root if root.is_dir() else None
    except (ValueError, OSError):
        return None


def _open_everything(directory: Path, result: Findings) -> None:
    """What training and evaluation would open; the ties between the files are theirs to check."""
    labelled = (directory / LABELS_FILE).is_file()
    if labelled:
        result.attempt(directory / LABELS_FILE, lambda: read_class_names(directory))
    if (directory / PROMPTS_FILE).is_file():
        result.attempt(directory / PROMPTS_FILE, lambda: read_object(directory / PROMPTS_FILE))
    if (directory / REPORTS_FILE).is_file():
        result.attempt(directory / REPORTS_FILE, lambda: read_reports(directory))
    for split in available_splits(directory):
        manifest = result.attempt(directory / f"{split}.tsv", partial(Manifest.open, directory, split))
        if manifest is None:
            continue
        result.attempt(directory / f"{split}.meta.parquet", manifest.meta)
        result.attempt(directory / f"{split}.meta.parquet", manifest.report_ids)
        result.attempt(directory / f"{split}.labels.npy", manifest.labels)
        if (directory / f"{split}.n3s.npy").is_file() or (directory / f"{split}.n3s.json").is_file():
            result.attempt(directory / f"{split}.n3s.npy", partial(NegativeTable.load, directory, split))
        if not result.attempt(directory / MANIFEST_FILE, partial(check_store_tie, directory, manifest.store_root)):
            line = f"{manifest.store_root / STORE_FILE}: {directory} does not note which recordings it was made over"
            if line not in result.unchecked and directory / MANIFEST_FILE not in result.faulty:
                result.unchecked.append(line)
    for kind, source in (("reports", REPORTS_FILE), ("prompts", PROMPTS_FILE)):
        for path in sorted(directory.glob(f"{kind}.*.npz")):
            result.attempt(path, partial(_open_tokens, path, directory / source))


def _open_tokens(path: Path, source: Path) -> None:
    """Read a table of token ids; its statements, where it has any, must be those of its source."""
    table = TokenTable.load(path, source)
    if table.statements is not None and not table.has_statements_of(read_reports(source.parent)):
        raise DataError(
            f"{path}: holds places of other statements than those of {source.name}; run preprocess/tokenizer.py again, with "
            f"{table.info['tokenizer']}"
        )
