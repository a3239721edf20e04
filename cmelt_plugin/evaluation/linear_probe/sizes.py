"""How many training records a probe learns from: a share of them, or some of each class."""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.labelled_split import LabelledSplit
from cmelt_plugin.evaluation.low_data import PUBLISHED_SEED, shot_rows, subset_rows


class TrainingSize(NamedTuple):
    """One size.

    Attributes:
        fraction: share of the training records, where that is given.
        shots: records of each class, where that is given.
    """

    fraction: float | None = None
    shots: int | None = None

    @property
    def text(self) -> str:
        """For titles and tables."""
        return f"{self.shots} a class" if self.fraction is None else f"{100 * self.fraction:g} %"

    @property
    def folder(self) -> str:
        """What ends the name of its folder."""
        return f"{self.shots}shots" if self.fraction is None else f"{100 * self.fraction:g}pct"

    @property
    def is_part(self) -> bool:
        """Whether records may be left out."""
        return self.fraction is None or self.fraction < 1

    def settings(self, subset: str) -> dict[str, Any]:
        """What results say of it; ``subset``: rule by which a share is drawn."""
        return {"shots": self.shots} if self.fraction is None else {"fraction": self.fraction, "subset": subset}


def training_sizes(args: argparse.Namespace) -> list[TrainingSize]:
    """The sizes that the options name, rising."""
    if args.shots is not None:
        return [TrainingSize(shots=shots) for shots in sorted(set(args.shots))]
    return [TrainingSize(fraction=fraction) for fraction in args.fraction]


def subset_seed(index: int, args: argparse.Namespace) -> int:
    """Seed of the part of the training records for the probe number ``index``."""
    return PUBLISHED_SEED + (0 if args.same_subset else index)


def training_part(train: LabelledSplit, size: TrainingSize, index: int, args: argparse.Namespace) -> np.ndarray:
    """Rows that the probe number ``index`` trains on; see :mod:`cmelt_plugin.evaluation.low_data`."""
    # Records of unknown subjects stand alone.
    groups = [subject or f"record {row}" for row, subject in enumerate(train.subject_id)]
    seed = subset_seed(index, args)
    try:
        if size.fraction is None:
            return shot_rows(train.labels, int(size.shots or 0), seed, groups)
        return subset_rows(train.labels, size.fraction, args.subset, seed, groups)
    except DataError as error:
        raise DataError(f"{train.manifest.directory}/{train.manifest.split}.tsv: {error}") from None
