"""The last step of a corpus: documents that are new go to their split, and ``corpus.json`` says what became of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from cmelt_plugin.data.corpus.documents import CORPUS_FILE, FORMAT, ROWS, SCHEMA, SPLITS, documents_path
from cmelt_plugin.data.directory.checksums import CHECKSUMS_FILE
from cmelt_plugin.data.directory.own_files import target_of_temporary
from cmelt_plugin.data.directory.replacing import entry_of, write_checksums
from cmelt_plugin.data.files import atomic_path, fingerprint, write_json
from preprocess.corpus.duplicates import Duplicates
from preprocess.corpus.parts import WORK_FOLDER, documents_of


class ReadSource(NamedTuple):
    """A source whose documents have been read.

    Attributes:
        kind, name: of the source.
        path: its documents.
        read: how many there were, ``in``, and how many were left out on reading, by reason.
    """

    kind: str
    name: str
    path: Path
    read: Mapping[str, Any]


class _Split:
    """A file of documents that is being written."""

    def __init__(self, path: Path, stack: ExitStack):
        self.writer = stack.enter_context(pq.ParquetWriter(stack.enter_context(atomic_path(path)), SCHEMA))
        self.rows: list[tuple[str, str, list[str]]] = []
        self.counts = Counter(documents=0, statements=0, words=0)

    def add(self, name: str, kind: str, statements: list[str]) -> None:
        self.rows.append((name, kind, statements))
        words = sum(len(statement.split()) for statement in statements)
        self.counts.update(documents=1, statements=len(statements), words=words)
        if len(self.rows) == ROWS:
            self.flush()

    def flush(self) -> None:
        if self.rows:
            self.writer.write_table(pa.table(list(map(list, zip(*self.rows))), schema=SCHEMA))
        self.rows = []


def write_corpus(
    folder: Path, sources: Sequence[ReadSource], duplicates: Duplicates, plan: Mapping[str, Any], **about: Any
) -> dict[str, Any]:
    """Write both splits, ``checksums.json`` and, last, ``corpus.json``; return what it holds.

    Args:
        folder: of the corpus.
        sources: in the order in which the first of several equal texts is kept.
        duplicates: what is known already.
        plan: settings and sources, by which the same command knows its corpus again.
        about: further entries.
    """
    (folder / CORPUS_FILE).unlink(missing_ok=True)
    (folder / CHECKSUMS_FILE).unlink(missing_ok=True)
    described = []
    with ExitStack() as stack:
        splits = {split: _Split(documents_path(folder, split), stack) for split in SPLITS}
        for source in tqdm(sources, desc="joining", unit="source", disable=len(sources) < 2):
            left_out, out = Counter(source.read["left_out"]), Counter(dict.fromkeys(SPLITS, 0))
            for name, held_out, statements in documents_of(source.path):
                reason = duplicates.reason(name, statements)
                if reason is not None:
                    left_out[reason] += 1
                    continue
                split = SPLITS[held_out]
                splits[split].add(name, source.kind, statements)
                out[split] += 1
            counts = {"in": source.read["in"], "out": dict(out), "left_out": dict(sorted(left_out.items()))}
            if counts["in"] != sum(out.values()) + sum(left_out.values()):
                raise RuntimeError(f"{source.name}: {counts}")
            described.append({"kind": source.kind, "name": source.name, **counts})
        for written in splits.values():
            written.flush()
    for split in SPLITS:
        if not splits[split].counts["documents"]:
            documents_path(folder, split).unlink()
    names = [documents_path(folder, split).name for split in SPLITS if splits[split].counts["documents"]]
    corpus = {
        "format": FORMAT,
        **about,
        "arguments": plan,
        "counts": total(described),
        "sources": described,
        "splits": {name: dict(split.counts) for name, split in splits.items()},
        "fingerprints": {name: fingerprint(folder / name) for name in names},
    }
    write_checksums(folder, {name: entry_of(folder / name) for name in names})
    write_json(folder / CORPUS_FILE, corpus)
    return corpus


def is_own_file(name: str) -> bool:
    """Whether a file of this name may be part of a corpus folder."""
    known = {CORPUS_FILE, CHECKSUMS_FILE, WORK_FOLDER, *(documents_path("", split).name for split in SPLITS)}
    name = target_of_temporary(name) or name
    return name in known or (name.endswith(".npz") and name.partition(".")[0] in SPLITS)


def remove_leftovers(folder: Path) -> None:
    """Delete what killed runs were writing; nobody else is at it while the folder's lock is held."""
    for path in folder.iterdir():
        if target_of_temporary(path.name) is not None and is_own_file(path.name):
            path.unlink()


def total(sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The counts of several sources together."""
    left_out: Counter[str] = Counter()
    out: Counter[str] = Counter()
    for source in sources:
        left_out.update(source["left_out"])
        out.update(source["out"])
    return {"in": sum(source["in"] for source in sources), "out": dict(out), "left_out": dict(sorted(left_out.items()))}
