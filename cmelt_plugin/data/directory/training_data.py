"""Which records a model was trained on, as its checkpoints say it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from cmelt_plugin.data.directory.checksums import fingerprint
from cmelt_plugin.errors import DataError

TRAINING_DATA = "training_data"
"""Name of it among what a task keeps."""


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
