"""``cmelt_classification``: the loss of a classifier, multi-label or multi-class.

The criterion returns a sum over records and their number, which the hosts divide by. A record's loss is the mean over
its known labels, so that neither the number of classes nor unknown labels change the scale. Class weights act in
training alone: validation losses of differently weighted runs can be compared.
"""

from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from torch import Tensor

from cmelt_plugin import host
from cmelt_plugin.criterions.base import COUNT, SUM, LoggingCriterion, without_repeated_records
from cmelt_plugin.losses.classification import (
    Loss,
    balanced_class_weights,
    balanced_positive_weights,
    class_numbers,
    multi_class_loss,
    multi_label_loss,
)


class ClassifierCriterion(LoggingCriterion):
    """Base: one forward pass, loss and logging; subclasses compute the loss."""

    def loss(self, logits: Tensor, sample: dict[str, Any]) -> Loss:
        raise NotImplementedError

    def target(self, sample: dict[str, Any]) -> Optional[Tensor]:
        """Class numbers ``[B]`` where classes exclude each other: their accuracy is logged."""
        return None

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, Any, dict[str, Any]]:
        """Loss summed over records, number of records, values to log."""
        return self.compute_loss(model(**without_repeated_records(model, sample)["net_input"]), sample)

    def compute_loss(self, output: dict[str, Tensor], sample: dict[str, Any]) -> tuple[Tensor, Any, dict[str, Any]]:
        """As :meth:`forward`, for what the model returned."""
        loss = self.loss(output["logits"], sample)
        rows = sample["id"].numel()
        log: dict[str, Any] = {"loss": loss.total.detach(), "sample_size": loss.records}
        log.update({"nsentences": rows, "nsignals": rows, "ntokens": rows})
        target = self.target(sample)
        if target is not None:
            log[f"accuracy{SUM}"] = (output["logits"].argmax(dim=1) == target).sum()
            log[f"accuracy{COUNT}"] = loss.records.clone()
        if sample.get("ignore_grad"):  # a rank that ran out of batches repeats one, which counts nowhere
            log = {key: 0 * value for key, value in log.items()}
        if not self.training:  # logged values travel through pickles there
            log = {key: value.item() if torch.is_tensor(value) else value for key, value in log.items()}
        return loss.total, loss.records, log


@dataclass
class ClassificationCriterionConfig(host.Dataclass):
    class_weights: str = field(
        default="none",
        metadata={
            "help": "none, or balanced: positives weigh as much as negatives (multi-label), every class as much as every "
            "other (multi-class), from the counts of the training records; training loss only"
        },
    )


@host.register_criterion("cmelt_classification", dataclass=ClassificationCriterionConfig)
class ClassificationCriterion(ClassifierCriterion):
    """Binary cross-entropy per class, or cross-entropy (``task.problem=multi_class``)."""

    choices = {"class_weights": ("none", "balanced")}

    def __init__(self, cfg: ClassificationCriterionConfig, task: Any):
        super().__init__(cfg, task)
        self.multi_class = task.multi_class
        self.weights: Optional[Tensor] = None

    def loss(self, logits: Tensor, sample: dict[str, Any]) -> Loss:
        weights = self._weights(logits.device) if self.training else None
        if self.multi_class:
            return multi_class_loss(logits, class_numbers(sample["labels"]), weights)
        return multi_label_loss(logits, sample["labels"], weights)

    def target(self, sample: dict[str, Any]) -> Optional[Tensor]:
        return class_numbers(sample["labels"]) if self.multi_class and self.training else None

    def _weights(self, device: torch.device) -> Optional[Tensor]:
        if self.cfg.class_weights == "none":
            return None
        if self.weights is None:
            labels = torch.from_numpy(self.task.training_labels)
            if self.multi_class:
                self.weights = balanced_class_weights(class_numbers(labels), labels.shape[1]).to(device)
            else:
                self.weights = balanced_positive_weights(labels).to(device)
        return self.weights
