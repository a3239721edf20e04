"""Whose recordings the splits of a manifest directory hold: nobody may be in the training set and in another split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cmelt_plugin.data.directory.manifest import available_splits
from cmelt_plugin.data.directory.split_meta import read_meta_column
from cmelt_plugin.errors import DataError


def check_disjoint(directory: Path, training: str) -> None:
    """Refuse a directory in which a subject of the training set is in another split, too, whatever the records' sources.

    Records without a subject take no part.

    Args:
        directory: manifest directory.
        training: name of the split that is trained on.

    Raises:
        DataError: some are, with their number and one of them; or a meta file cannot be read.
    """
    own = _subjects(directory, training)
    for split in available_splits(directory):
        shared = np.empty(0) if split == training else np.intersect1d(own, _subjects(directory, split), assume_unique=True)
        if len(shared):
            raise DataError(
                f"{directory}: {len(shared)} subjects of {training} are in {split}, too (one of them: {str(shared[0])!r:.80}). "
                "A model would be tested on people it was trained on; split by subject over all sources together"
            )


def _subjects(directory: Path, split: str) -> np.ndarray:
    names = np.unique(read_meta_column(directory, split, "subject_id").to_numpy().astype(str))
    return names[names != ""]
