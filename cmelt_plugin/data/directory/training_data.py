"""Which records a model was trained on, as its checkpoints say it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmelt_plugin.data.directory.checksums import fingerprint
from cmelt_plugin.errors import DataError

TRAINING_DATA = "training_data"
"""Name of it among what a task keeps."""
EARLIER_TRAINING_DATA = "earlier_training_data"
"""Name of the list of those of the trainings before, whose weights it began with; None in it: nothing is known of one."""


def training_fingerprint(directory: str, split: str) -> dict[str, Any]:
    """Number, order and meta data of a split's records; where the directory and its store lie does not matter.

    Raises:
        DataError: the split is not there.
    """
    tsv, meta = Path(directory) / f"{split}.tsv", Path(directory) / f"{split}.meta.parquet"
    digest, records = hashlib.sha256(), 0
    try:
        with open(tsv, "rb") as handle:
            handle.readline()  # where the store lies
            for block in iter(lambda: handle.read(1 << 20), b""):
                digest.update(block)
                records += block.count(b"\n")
        return {"split": split, "records": records, "order": "sha256:" + digest.hexdigest(), "meta": fingerprint(meta)}
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}") from None


def trainings_of(task_state: Mapping[str, Any]) -> list[Any]:
    """What a task keeps of its training data, the last training first, then those before; None for one that says nothing."""
    earlier = task_state.get(EARLIER_TRAINING_DATA)
    return [task_state.get(TRAINING_DATA), *(earlier if isinstance(earlier, list) else [])]


def same_records(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two fingerprints are of the same records: by their meta data; by their order, where one has no meta data.

    Other data sets of as many records may have the same order: it is that of shards and rows.
    """
    name = "meta" if one.get("meta") is not None and other.get("meta") is not None else "order"
    return one.get(name) is not None and one[name] == other.get(name)
