"""``cmelt_mlm``: masked language modelling alone.

Training one objective leaves the other heads without gradients: with several processes set
``distributed_training.find_unused_parameters=true``.
"""

import torch

from cmelt_plugin import host
from cmelt_plugin.criterions.base import Batch, Part, PretrainingCriterion
from cmelt_plugin.criterions.config import CriterionConfig
from cmelt_plugin.losses import mlm_loss


def mlm_part(batch: Batch) -> Part:
    """Mean over the masked words of all ranks; ``mlm_accuracy``."""
    logits, target = batch.out["mlm_logits"], batch.sample["mlm_target"]
    count = torch.full((), float(len(target) if batch.n_rows else 0), device=logits.device)
    loss = batch.mean_over_ranks(mlm_loss(logits, target), count)
    return Part(loss, {"mlm_accuracy": ((logits.argmax(-1) == target).sum(), count)})


@host.register_criterion("cmelt_mlm", dataclass=CriterionConfig)
class MLMCriterion(PretrainingCriterion):
    """Equation 1 of the paper."""

    def parts(self):
        return {"mlm": (1.0, mlm_part)}
