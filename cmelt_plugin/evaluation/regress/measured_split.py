"""A split whose records have a measured value, in a column of ``SPLIT.meta.parquet``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from cmelt_plugin.data.batches.labelled import target_values
from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.labelled_split import count_subjects, data_set_name

TRAIN = "train"


class MeasuredSplit(NamedTuple):
    """The N records of a split whose value is known.

    Attributes:
        manifest: of all records of the split.
        data_set: e.g. "mimic-iv-ecg".
        column: of the values.
        rows: int64 ``[N]``, their rows of the manifest.
        target: float64 ``[N]``.
        record_id, subject_id: N strings; an empty subject stands for an unknown one.
        unknown: records without a value.
        train_mean: mean value of the split ``train``; None where there is none, or this is it.
    """

    manifest: Manifest
    data_set: str
    column: str
    rows: np.ndarray
    target: np.ndarray
    record_id: list[str]
    subject_id: list[str]
    unknown: int
    train_mean: float | None

    @property
    def n_subjects(self) -> int:
        return count_subjects(self.subject_id)


def open_measured(directory: Path, split: str, column: str) -> MeasuredSplit:
    """Open one split.

    Raises:
        DataError: the split is not there, has no such column of numbers, or no record has a value.
    """
    manifest = Manifest.open(directory, split)
    values = target_values(manifest, column)
    rows = np.flatnonzero(~np.isnan(values))
    if not len(rows):
        raise DataError(f"{directory}/{split}.meta.parquet: {column} is unknown for all {len(values)} records")
    train_mean = None
    if split != TRAIN and TRAIN in available_splits(directory):
        train = target_values(Manifest.open(directory, TRAIN), column)
        train_mean = None if np.isnan(train).all() else float(np.nanmean(train))
    meta = manifest.meta(["record_id", "subject_id", "source"])
    return MeasuredSplit(
        manifest,
        data_set_name(Path(directory), meta["source"].to_pylist()),
        column,
        rows,
        values[rows],
        meta["record_id"].take(rows).to_pylist(),
        meta["subject_id"].take(rows).to_pylist(),
        len(values) - len(rows),
        train_mean,
    )
