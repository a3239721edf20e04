"""``cmelt_regression``: fine-tuning an ECG encoder to estimate a measured value, such as the ejection fraction.

The values stand in a column of ``SPLIT.meta.parquet``. Checkpoints carry mean and standard deviation of the training records'
values, in units of which the model's output is.
"""

import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cmelt_plugin import host
from cmelt_plugin.data.batches.labelled import LabelledECGDataset, subject_ids, target_values
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.finetuned.regression import RegressionValidation
from cmelt_plugin.models.files.loaded_settings import TARGET_DEVIATION, TARGET_MEAN
from cmelt_plugin.tasks.finetuning import FinetuningConfig, FinetuningTask

logger = logging.getLogger(__name__)


@dataclass
class RegressionConfig(FinetuningConfig):
    target: str = field(
        default="lvef", metadata={"help": "column of the splits' meta files with the values; NaN or null = unknown"}
    )
    bootstrap: int = field(
        default=1000, metadata={"help": "resamples for 95 % intervals, on subsets whose name does not begin with valid"}
    )


@host.register_task("cmelt_regression", dataclass=RegressionConfig)
class RegressionTask(FinetuningTask):
    """Records without a value are left out of training and of every metric."""

    def outputs(self) -> tuple[int, list[str]]:
        return 1, [self.cfg.target]

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> None:
        manifest = Manifest.open(self.data_directory(self.cfg.data), split)
        values = target_values(manifest, self.class_names[0])
        known = np.flatnonzero(~np.isnan(values))
        path = f"{manifest.directory}/{split}.meta.parquet, column {self.class_names[0]}"
        if not len(known):
            raise DataError(f"{path}: no record has a value")
        training = self.for_training(split, combine)
        if training:
            deviation = float(values[known].std())
            if not deviation > 0:
                raise DataError(f"{path}: all values are {values[known][0]:g}; there is nothing to learn")
            self.note_training_data(split)
            self.state.merge_state_dict({TARGET_MEAN: float(values[known].mean()), TARGET_DEVIATION: deviation})
        labels = values.astype(np.float32)[:, None]
        self.datasets[split] = LabelledECGDataset(manifest, self.options(training), labels=labels, rows=known)
        logger.info("%s: %d of %d records", path, len(known), len(manifest))

    def training_data(self, split: str) -> dict[str, Any]:
        return {**super().training_data(split), "target": self.class_names[0]}

    def target_scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the training records' values.

        Raises:
            DataError: neither a training set was loaded nor a checkpoint of this task.
        """
        state = self.state.state_dict
        if TARGET_DEVIATION not in state:
            raise DataError("the checkpoint does not say the scale of its values; it is none of task._name=cmelt_regression")
        return float(state[TARGET_MEAN]), float(state[TARGET_DEVIATION])

    def new_evaluation(self, dataset: LabelledECGDataset, n_batches: int) -> RegressionValidation:
        split = dataset.manifest.split
        return RegressionValidation(
            n_batches,
            host.data_parallel_group(),
            f"{dataset.manifest.directory}/{split}",
            self.target_scale,
            subject_ids(dataset.manifest),
            0 if split.startswith("valid") else self.cfg.bootstrap,
        )
