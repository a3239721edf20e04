"""``cmelt_identification``: cross-entropy over the subjects of the training set."""

from dataclasses import dataclass
from typing import Any, Optional

from torch import Tensor

from cmelt_plugin import host
from cmelt_plugin.criterions.classification import ClassifierCriterion
from cmelt_plugin.losses.classification import Loss, multi_class_loss


@dataclass
class IdentificationCriterionConfig(host.Dataclass):
    pass


@host.register_criterion("cmelt_identification", dataclass=IdentificationCriterionConfig)
class IdentificationCriterion(ClassifierCriterion):
    """Records of subjects who are not in the training set have no loss."""

    def loss(self, logits: Tensor, sample: dict[str, Any]) -> Loss:
        return multi_class_loss(logits, sample["subject"])

    def target(self, sample: dict[str, Any]) -> Optional[Tensor]:
        return sample["subject"] if self.training else None
