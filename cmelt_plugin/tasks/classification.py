"""``cmelt_classification``: fine-tuning and linear probing on a labelled manifest (paper §4.1.2).

The classes are the model's: a manifest that has them in another order is read by name, one with other classes is refused.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np

from cmelt_plugin import host
from cmelt_plugin.data.batches.labelled import LabelledECGDataset, labels_by_name, subject_ids
from cmelt_plugin.data.directory.class_labels import read_class_names
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.finetuned.validation import ClassifierEvaluationOptions, ClassifierValidation
from cmelt_plugin.evaluation.low_data import subset_rows
from cmelt_plugin.evaluation.metrics.cinc2021 import load_cinc_weights
from cmelt_plugin.evaluation.metrics.classifier import CincScoring
from cmelt_plugin.tasks.finetuning import FinetuningConfig, FinetuningTask

logger = logging.getLogger(__name__)

PROBLEMS = ("multi_label", "multi_class")


@dataclass
class ClassificationConfig(FinetuningConfig):
    problem: str = field(
        default="multi_label", metadata={"help": "multi_label (sigmoid), or multi_class: exactly one class a record (softmax)"}
    )
    fraction: float = field(default=1.0, metadata={"help": "share of the training records that is used"})
    subset: str = field(
        default="merl", metadata={"help": "which records a fraction below 1 means: merl, melp (their rules) or stratified"}
    )
    subset_seed: int = field(default=42, metadata={"help": "seed of the choice of records"})
    cinc_weights: Optional[str] = field(
        default=None, metadata={"help": "weights.csv of the CinC Challenge 2021's evaluation code: adds its score"}
    )
    cinc_threshold: str = field(
        default="validation", metadata={"help": "decisions of that score: at thresholds from validation data, or e.g. 0.5"}
    )
    bootstrap: int = field(
        default=1000, metadata={"help": "resamples for 95 % intervals, on subsets whose name does not begin with valid"}
    )


@host.register_task("cmelt_classification", dataclass=ClassificationConfig)
class ClassificationTask(FinetuningTask):
    """Thresholds are chosen on the validation subset, kept in the checkpoint, and applied to every other subset."""

    def __init__(self, cfg: ClassificationConfig):
        super().__init__(cfg)
        if cfg.problem not in PROBLEMS:
            raise DataError(f"task.problem must be one of {', '.join(PROBLEMS)}, not {cfg.problem!r}")
        if not 0.0 < cfg.fraction <= 1.0:
            raise DataError(f"task.fraction={cfg.fraction}: must be above 0 and at most 1")
        self.multi_class = cfg.problem == "multi_class"
        self.training_labels: Optional[np.ndarray] = None

    def outputs(self) -> tuple[int, list[str]]:
        directory = Path(self.data_directory(self.cfg.data))
        names = read_class_names(directory)
        return len(names), names

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> None:
        manifest = Manifest.open(self.data_directory(self.cfg.data), split)
        labels = labels_by_name(manifest, self.class_names)
        if self.multi_class:
            check_exclusive(manifest, labels)
        training, rows = self.for_training(split, combine), None
        if training:
            if self.cfg.fraction < 1.0:
                # Records of unknown subjects stand alone.
                groups = [subject or f"record {row}" for row, subject in enumerate(subject_ids(manifest).tolist())]
                rows = subset_rows(labels, self.cfg.fraction, self.cfg.subset, self.cfg.subset_seed, groups)
            self.note_training_data(split)
            self.training_labels = labels if rows is None else labels[rows]
        dataset = LabelledECGDataset(manifest, self.options(training), labels=labels, rows=rows)
        self.datasets[split] = dataset
        logger.info(
            "%s/%s: %d of %d records, %d classes", manifest.directory, split, len(dataset), len(manifest), len(self.class_names)
        )

    def training_data(self, split: str) -> dict[str, Any]:
        chosen = [self.cfg.fraction, self.cfg.subset, self.cfg.subset_seed] if self.cfg.fraction < 1.0 else None
        return {**super().training_data(split), "chosen": chosen}

    def new_evaluation(self, dataset: LabelledECGDataset, n_batches: int) -> ClassifierValidation:
        split = dataset.manifest.split
        choose = split.startswith("valid")
        known = self.state.state_dict.get("thresholds")
        options = ClassifierEvaluationOptions(
            title=f"{dataset.manifest.directory}/{split}",
            names=self.class_names,
            multi_class=self.multi_class,
            choose=choose,
            thresholds=None if choose or known is None else np.asarray(known, dtype=np.float64),
            cinc=self._cinc(),
            n_bootstrap=0 if choose else self.cfg.bootstrap,
        )
        return ClassifierValidation(n_batches, host.data_parallel_group(), options, subject_ids(dataset.manifest))

    def evaluated(self, evaluation: Any) -> None:
        if evaluation.options.choose and evaluation.thresholds is not None:
            self.state.merge_state_dict({"thresholds": evaluation.thresholds.tolist()})

    def _cinc(self) -> Optional[CincScoring]:
        """The reward matrix is kept in the checkpoint: the file need not be where it was when a checkpoint is validated."""
        if not self.cfg.cinc_weights:
            return None
        kept = self.state.state_dict.get("cinc_weights")
        if kept is None:
            classes, weights = load_cinc_weights(self.cfg.cinc_weights)
            kept = {"classes": list(classes), "weights": np.asarray(weights).tolist()}
            self.state.merge_state_dict({"cinc_weights": kept})
        return CincScoring.of(kept["classes"], np.asarray(kept["weights"]), self.class_names, self.cfg.cinc_threshold)


def check_exclusive(manifest: Manifest, labels: np.ndarray) -> None:
    """Raise DataError where a record with known labels has not exactly one class."""
    wrong = np.flatnonzero(((labels == 1).sum(axis=1) != 1) & ~np.isnan(labels).any(axis=1))
    if len(wrong):
        raise DataError(
            f"{manifest.directory}/{manifest.split}.labels.npy, row {wrong[0]}: {int((labels[wrong[0]] == 1).sum())} classes "
            f"({len(wrong)} such records); task.problem=multi_class needs exactly one"
        )
