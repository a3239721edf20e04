"""``cmelt_mem``: masked ECG modelling alone."""

from cmelt_plugin import host
from cmelt_plugin.criterions.base import Batch, Part, PretrainingCriterion
from cmelt_plugin.criterions.config import CriterionConfig
from cmelt_plugin.errors import DataError
from cmelt_plugin.losses import mem_loss
from cmelt_plugin.modules.patches import patchify, standardise_leads

TARGETS = ("original", "masked_input")


def mem_part(batch: Batch, mem_target: str = "original") -> Part:
    """Mean squared error of the masked tokens, standardised per lead."""
    if mem_target not in TARGETS:
        raise DataError(f"mem_target must be one of {', '.join(TARGETS)}, not {mem_target!r}")
    inputs, prediction, mask = batch.sample["net_input"], batch.out["mem_prediction"], batch.out["mem_mask"]
    ecg, lead_mask = inputs["ecg"], inputs.get("lead_mask")
    if mem_target == "masked_input" and lead_mask is not None:
        ecg = ecg.masked_fill(lead_mask.unsqueeze(-1), 0.0)
    n_tokens = prediction.shape[1]
    samples_per_token = prediction.shape[2] // ecg.shape[1]
    used = ecg[..., : n_tokens * samples_per_token]
    n_samples = inputs.get("n_samples")
    target = standardise_leads(used, None if n_samples is None else n_samples.clamp(max=used.shape[-1]))
    count = mask.sum() * (1 if batch.n_rows else 0)
    loss = mem_loss(prediction, patchify(target, n_tokens, samples_per_token), mask)
    return Part(batch.mean_over_ranks(loss, count), {})


@host.register_criterion("cmelt_mem", dataclass=CriterionConfig)
class MEMCriterion(PretrainingCriterion):
    """Equation 2 of the paper."""

    def parts(self):
        return {"mem": (1.0, lambda batch: mem_part(batch, self.cfg.mem_target))}
