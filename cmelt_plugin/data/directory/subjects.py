"""Whose recordings splits hold: nobody may be in the training set and in another split, nor in two that need be apart."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from cmelt_plugin.data.directory.manifest import available_splits
from cmelt_plugin.data.directory.split_meta import read_meta_column
from cmelt_plugin.errors import DataError

RECORD, SUBJECT = "record_id", "subject_id"


def check_disjoint(directory: Path, training: str) -> None:
    """Refuse a directory in which a subject of the training set is in another split, too, whatever the records' sources.

    Records without a subject take no part.

    Args:
        directory: manifest directory.
        training: name of the split that is trained on.

    Raises:
        DataError: some are, with their number and one of them; or a meta file cannot be read.
    """
    own = _names(directory, training, SUBJECT)
    for split in available_splits(directory):
        shared = np.empty(0) if split == training else _shared(own, _names(directory, split, SUBJECT))
        if len(shared):
            raise DataError(
                f"{directory}: {len(shared)} subjects of {training} are in {split}, too (one of them: {str(shared[0])!r:.80}). "
                "A model would be tested on people it was trained on; split by subject over all sources together"
            )


class Shared(NamedTuple):
    """What two splits share, for messages: ``many`` "3 subjects", ``one`` the name of one of them in quotes."""

    many: str
    one: str


def in_both(directory: Path, split: str, other_directory: Path, other: str) -> Shared | None:
    """Records that are in two splits, or else subjects; None where there are none. Those without a name take no part.

    Raises:
        DataError: a meta file cannot be read.
    """
    for column, what in ((RECORD, "records"), (SUBJECT, "subjects")):
        shared = _shared(_names(directory, split, column), _names(other_directory, other, column))
        if len(shared):
            return Shared(f"{len(shared)} {what}", f"{str(shared[0])!r:.80}")
    return None


def _shared(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.intersect1d(one, other, assume_unique=True)


def _names(directory: Path, split: str, column: str) -> np.ndarray:
    names = np.unique(read_meta_column(directory, split, column).to_numpy().astype(str))
    return names[names != ""]
