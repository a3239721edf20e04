"""``cmelt_etm``: ECG–text matching alone."""

import torch

from cmelt_plugin import host
from cmelt_plugin.criterions.base import Batch, Part, PretrainingCriterion
from cmelt_plugin.criterions.config import CriterionConfig
from cmelt_plugin.losses import etm_loss


def etm_part(batch: Batch) -> Part:
    """Mean over pairs; ``etm_accuracy`` at the threshold 0."""
    logits, aligned = batch.out["etm_logits"], batch.sample["aligned"]
    correct = ((logits > 0) == aligned).sum()
    pairs = torch.full((), float(len(aligned)), device=logits.device)
    return Part(etm_loss(logits, aligned), {"etm_accuracy": (correct, pairs)})


@host.register_criterion("cmelt_etm", dataclass=CriterionConfig)
class ETMCriterion(PretrainingCriterion):
    """Equation 3 of the paper."""

    def parts(self):
        return {"etm": (1.0, etm_part)}
