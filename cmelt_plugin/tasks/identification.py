"""``cmelt_identification``: recognising subjects (paper §4.1.2, PhysioNet 2021 Id.).

Training is classification over the subjects of the training set. Evaluation needs nobody to be known: a subject's first
record of a subset (in the order of the manifest) is the gallery, the second the probe, and a probe is recognised when
the most similar of all gallery records is its own.
"""

import hashlib
import logging
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from cmelt_plugin import host
from cmelt_plugin.data.batches.labelled import LabelledECGDataset, subject_ids
from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.finetuned.validation import IdentificationValidation
from cmelt_plugin.evaluation.metrics.identification import gallery_and_probe
from cmelt_plugin.losses.classification import UNKNOWN
from cmelt_plugin.tasks.finetuning import FinetuningConfig, FinetuningTask

logger = logging.getLogger(__name__)

TRAIN = "train"


@dataclass
class IdentificationConfig(FinetuningConfig):
    pass


@host.register_task("cmelt_identification", dataclass=IdentificationConfig)
class IdentificationTask(FinetuningTask):
    """Checkpoints carry a fingerprint of the subjects, not their ids."""

    def __init__(self, cfg: IdentificationConfig):
        super().__init__(cfg)
        self.training_subjects: Optional[np.ndarray] = None

    def outputs(self) -> tuple[int, list[str]]:
        known = distinct_subjects(subject_ids(Manifest.open(self.data_directory(self.cfg.data), TRAIN)))
        if len(known) < 2:
            raise DataError(f"{self.cfg.data}/{TRAIN}.meta.parquet: fewer than two subjects, nobody to tell apart")
        return len(known), [subjects_fingerprint(known)]

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> None:
        manifest = Manifest.open(self.data_directory(self.cfg.data), split)
        subjects = subject_ids(manifest)
        training = self.for_training(split, combine)
        named = np.flatnonzero(subjects != "")
        if not training and not len(gallery_and_probe(subjects)[0]):
            raise DataError(f"{manifest.directory}/{split}.meta.parquet: no subject has two records to compare")
        if training:
            self.note_training_data(split)
        numbers = subject_numbers(subjects, self._open_training_subjects())
        dataset = LabelledECGDataset(manifest, self.options(training), subject=numbers, rows=named)
        self.datasets[split] = dataset
        logger.info(
            "%s/%s: %d records of %d subjects (%d without a subject left out); %d records of subjects of the training set",
            manifest.directory,
            split,
            len(dataset),
            len(distinct_subjects(subjects)),
            len(manifest) - len(named),
            int((numbers[named] != UNKNOWN).sum()),
        )

    def new_evaluation(self, dataset: LabelledECGDataset, n_batches: int) -> IdentificationValidation:
        return IdentificationValidation(n_batches, host.data_parallel_group(), subject_ids(dataset.manifest))

    def _open_training_subjects(self) -> np.ndarray:
        """The subjects behind the model's outputs; nobody where this is not the data set it was trained on."""
        if self.training_subjects is None:
            self.training_subjects = np.empty(0, dtype=np.str_)
            directory = self.data_directory(self.cfg.data)
            if TRAIN in available_splits(directory):
                known = distinct_subjects(subject_ids(Manifest.open(directory, TRAIN)))
                if [subjects_fingerprint(known)] == self.class_names:
                    self.training_subjects = known
        return self.training_subjects


def distinct_subjects(subjects: np.ndarray) -> np.ndarray:
    """The different subject ids, sorted, without the empty one."""
    return np.unique(subjects[subjects != ""])


def subjects_fingerprint(known: np.ndarray) -> str:
    return "sha256:" + hashlib.sha256("\n".join(known.tolist()).encode("utf-8")).hexdigest()


def subject_numbers(subjects: np.ndarray, known: np.ndarray) -> np.ndarray:
    """int64 ``[n]``: place of every subject in ``known`` (sorted), -1 = not there."""
    if not len(known):
        return np.full(len(subjects), UNKNOWN, dtype=np.int64)
    place = np.searchsorted(known, subjects).clip(max=len(known) - 1)
    return np.where(known[place] == subjects, place, UNKNOWN).astype(np.int64)
