"""Which records a model was trained on, as its checkpoints say it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmelt_plugin.data.directory.checksums import fingerprint, once
from cmelt_plugin.data.directory.split_meta import meta_column_parts
from cmelt_plugin.errors import DataError

TRAINING_DATA = "training_data"
"""Name of it among what a task keeps."""
EARLIER_TRAINING_DATA = "earlier_training_data"
"""Name of the list of those of the trainings before, whose weights it began with; None in it: nothing is known of one."""


def training_fingerprint(directory: str, split: str) -> dict[str, Any]:
    """Number, order and meta data of a split's records; where the directory and its store lie does not matter.

    ``meta`` is of the records' and subjects' names, and stays the same when the meta file is written in another way or with
    further columns; ``file`` is of the bytes of that file. Checkpoints from before have these as ``meta``.

    Raises:
        DataError: the split is not there, or its meta file cannot be read.
    """
    tsv, meta = Path(directory) / f"{split}.tsv", Path(directory) / f"{split}.meta.parquet"
    digest, records = hashlib.sha256(), 0
    try:
        with open(tsv, "rb") as handle:
            handle.readline()  # where the store lies
            for block in iter(lambda: handle.read(1 << 20), b""):
                digest.update(block)
                records += block.count(b"\n")
        names = once("names", meta, lambda _: _fingerprint_of_names(directory, split))
        order = "sha256:" + digest.hexdigest()
        return {"split": split, "records": records, "order": order, "meta": names, "file": fingerprint(meta)}
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}") from None


def _fingerprint_of_names(directory: str, split: str) -> str:
    """Of whatever the rows are stored in, in bounded memory."""
    digest = hashlib.sha256()
    for column in ("record_id", "subject_id"):
        for names in meta_column_parts(directory, split, column):
            digest.update(("\0".join(names) + "\0").encode())
        digest.update(b"\n")
    return "sha256:" + digest.hexdigest()


def trainings_of(task_state: Mapping[str, Any]) -> list[Any]:
    """What a task keeps of its training data, the last training first, then those before; None for one that says nothing."""
    earlier = task_state.get(EARLIER_TRAINING_DATA)
    return [task_state.get(TRAINING_DATA), *(earlier if isinstance(earlier, list) else [])]


def same_records(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two fingerprints are of the same records: by their meta data; by their order, where one has no meta data.

    Other data sets of as many records may have the same order: it is that of shards and rows.
    """
    if one.get("meta") is None or other.get("meta") is None:
        return one.get("order") is not None and one["order"] == other.get("order")
    if "file" in one and "file" in other:
        return one["meta"] == other["meta"]
    return bool({one["meta"], one.get("file")} & {other["meta"], other.get("file")} - {None})


def same_training(known: Any, now: Mapping[str, Any]) -> bool:
    """Whether what a checkpoint says of its training data is just what a task says now.

    Args:
        known: of the checkpoint, which may be from before the meta file's bytes had a name of their own.
        now: of the task.
    """
    if "file" not in now or not isinstance(known, Mapping) or "file" in known:
        return known == now
    return known == {**{name: value for name, value in now.items() if name != "file"}, "meta": now["file"]}
