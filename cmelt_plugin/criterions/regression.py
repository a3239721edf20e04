"""``cmelt_regression``: Huber's loss on a measured value in units of its spread over the training records."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from cmelt_plugin import host
from cmelt_plugin.criterions.classification import ClassifierCriterion
from cmelt_plugin.errors import DataError
from cmelt_plugin.losses.classification import Loss
from cmelt_plugin.losses.regression import huber_loss


@dataclass
class RegressionCriterionConfig(host.Dataclass):
    delta: float = field(
        default=1.0,
        metadata={"help": "error from which the loss grows linearly, in standard deviations of the training records' values"},
    )


@host.register_criterion("cmelt_regression", dataclass=RegressionCriterionConfig)
class RegressionCriterion(ClassifierCriterion):
    """The model's output is the value less the mean of the training records, over their standard deviation."""

    def __init__(self, cfg: RegressionCriterionConfig, task: Any):
        super().__init__(cfg, task)
        if not cfg.delta > 0:
            raise DataError(f"criterion.delta={cfg.delta}: must be above 0")
        self.task = task

    def loss(self, logits: Tensor, sample: dict[str, Any]) -> Loss:
        mean, deviation = self.task.target_scale()
        return huber_loss(logits, (sample["labels"] - mean) / deviation, self.cfg.delta)
