"""ECGs with labels as mini-batches: for training and evaluating classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from cmelt_plugin.data.batches.augmentation import LeadMasking
from cmelt_plugin.data.batches.ecg import ECGDataset
from cmelt_plugin.data.batches.rng import epoch_order, record_generators
from cmelt_plugin.data.directory.class_labels import read_class_names
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.directory.own_files import LABELS_FILE
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError


def _all_leads() -> np.ndarray:
    return np.ones(len(LEADS), dtype=bool)


@dataclass
class LabelledOptions:
    """How records are made into examples.

    Attributes:
        seed: of all randomness.
        train: shuffle anew every epoch and draw lead masks.
        keep: bool ``[12]``, True = a lead the model may see; the others are zero in every record.
        lead_mask_probability, lead_sets: masking of the leads in ``keep``, training only
            (:class:`cmelt_plugin.data.batches.augmentation.LeadMasking`).
    """

    seed: int = 1
    train: bool = True
    keep: np.ndarray = field(default_factory=_all_leads)
    lead_mask_probability: float = 0.0
    lead_sets: str | None = None


class LabelledECGDataset(ECGDataset):
    """Records of a manifest and what is known of each.

    A batch holds ``id [B]`` (rows of the manifest), ``net_input`` = ``ecg [B, 12, 5000]`` mV, ``n_samples`` and
    ``lead_mask`` (bool ``[B, 12]``, True = to be zeroed; None where the model sees every lead), and either or both of
    ``labels`` (float32 ``[B, C]``, NaN = unknown) and ``subject`` (int64 ``[B]``, -1 = not in the training set).

    Args:
        manifest: the split.
        options: see :class:`LabelledOptions`.
        labels: ``[n, C]`` for all records of the manifest, or None.
        subject: int64 ``[n]``, or None.
        rows: the records that are used; None: all.
    """

    def __init__(
        self,
        manifest: Manifest,
        options: LabelledOptions,
        labels: np.ndarray | None = None,
        subject: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ):
        super().__init__(manifest, labels)
        self.options = options
        self.masking = LeadMasking(options.lead_mask_probability, options.lead_sets, options.keep)
        self.subject = subject
        self.rows = np.arange(len(manifest)) if rows is None else np.asarray(rows, dtype=np.int64)
        if options.train and labels is not None:
            check_known(manifest, labels, self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return not self.options.train

    def ordered_indices(self) -> np.ndarray:
        if self.options.train:
            return self.rows[epoch_order(self.options.seed, self.epoch, len(self.rows))]
        return self.rows

    def lead_mask(self, rows: np.ndarray, ecg: torch.Tensor | None = None) -> np.ndarray | None:
        """bool ``[B, 12]``, True = to be zeroed; at least one lead survives. None: no lead is.

        ``rows [B]`` of the manifest; ``ecg [B, 12, T]``, the records, as :class:`LeadMasking` takes them.
        """
        options = self.options
        if options.train and self.masking.masks:
            generators = record_generators(options.seed, self.epoch, rows)
            mask = self.masking(np.stack([generator.random(self.masking.n_keys) for generator in generators]), ecg)
        else:
            mask = np.repeat(~options.keep[None, :], len(rows), axis=0)
        return mask if mask.any() else None

    def collater(self, samples: Sequence[Any] | np.ndarray, digital: bool = False) -> dict[str, Any]:
        batch = super().collater(samples, digital)
        if not batch:
            return batch
        rows = np.asarray(samples, dtype=np.int64)
        mask = self.lead_mask(rows, batch["net_input"]["ecg"])
        batch["net_input"]["lead_mask"] = None if mask is None else torch.from_numpy(mask)
        if self.subject is not None:
            batch["subject"] = torch.from_numpy(self.subject[rows])
        return batch

    collator = collater  # fairseq-signals' spelling


def check_known(manifest: Manifest, labels: np.ndarray, rows: np.ndarray) -> None:
    """Refuse labels from which nothing, or nothing about one of the classes, can be learnt.

    Args:
        manifest: the training split, for the message.
        labels: ``[n, C]`` of all its records, NaN = unknown.
        rows: those that are trained on.

    Raises:
        DataError: a class is unknown for every record of the split, or every label of ``rows`` is.
    """
    path = manifest.directory / f"{manifest.split}.labels.npy"
    mend = "write the labels again with preprocess/labels.py"
    never = [column for column in range(labels.shape[1]) if np.isnan(labels[:, column]).all()]
    if never:
        names = read_class_names(manifest.directory) if (manifest.directory / LABELS_FILE).is_file() else []
        shown = ", ".join(names[column] if len(names) == labels.shape[1] else str(column) for column in never[:10])
        raise DataError(
            f"{path}: whether a record has the class is unknown for all {len(labels)} records: {shown}; nothing can be learnt "
            f"about it. Leave the class out, or {mend}"
        )
    if len(rows) and np.isnan(labels[rows]).all():
        raise DataError(f"{path}: every label of the {len(rows)} records to be trained on is unknown; {mend}")


def subject_ids(manifest: Manifest) -> np.ndarray:
    """Subject id of every record, str ``[n]``, empty = unknown."""
    return np.asarray(manifest.meta(["subject_id"])["subject_id"].to_pylist(), dtype=np.str_)


def target_values(manifest: Manifest, column: str) -> np.ndarray:
    """A measured value of every record, float64 ``[n]``, NaN = unknown, from a column of ``SPLIT.meta.parquet``.

    Raises:
        DataError: there is no such column, or it holds no numbers.
    """
    path = manifest.directory / f"{manifest.split}.meta.parquet"
    values = manifest.meta([column])[column]
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        raise DataError(f"{path}, column {column}: holds {values.type}, not numbers")
    numbers = np.asarray(values.to_numpy(), dtype=np.float64)  # null → NaN
    if np.isinf(numbers).any():
        raise DataError(f"{path}, column {column}: a value is infinite; write it again, unknown values as NaN")
    return numbers


def labels_by_name(manifest: Manifest, names: Sequence[str]) -> np.ndarray:
    """Labels of a split, float32 ``[n, C]`` with the columns ``names``, wherever they stand in the file.

    Raises:
        DataError: the split has no labels, or other classes than ``names``.
    """
    labelled = manifest.labels()
    if labelled is None:
        path = manifest.directory / f"{manifest.split}.labels.npy"
        raise DataError(f"{path}: no such file; attach labels with preprocess/labels.py")
    values, found = labelled
    path = manifest.directory / LABELS_FILE
    if set(found) != set(names):
        missing = sorted(set(names) - set(found))
        foreign = sorted(set(found) - set(names))
        raise DataError(
            f"{path}: not the classes of the model"
            + (f"; missing {', '.join(missing)}" if missing else "")
            + (f"; unknown to it {', '.join(foreign)}" if foreign else "")
        )
    return np.ascontiguousarray(values[:, [found.index(name) for name in names]], dtype=np.float32)
