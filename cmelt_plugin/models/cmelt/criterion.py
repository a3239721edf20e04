"""C-MELT's losses (paper §3): ``cmelt``, their weighted sum, and ``cmelt_mlm``, ``cmelt_mem``, ``cmelt_etm``, ``cmelt_siglep``.

Training one objective leaves the other heads without gradients: with several processes set
``distributed_training.find_unused_parameters=true``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from cmelt_plugin import host
from cmelt_plugin.criterions.pretraining import Batch, LossTerm, Terms, of_batch
from cmelt_plugin.criterions.uncertainty import MatchOptions, PairKeys, UncertaintyCriterion, UncertaintyLossOptions
from cmelt_plugin.losses import etm_loss, mem_loss, mlm_loss, siglep_loss_in_rows
from cmelt_plugin.losses.mlm import IGNORED
from cmelt_plugin.losses.pairs import DUPLICATES
from cmelt_plugin.modules.ecg.patches import patchify, standardise_leads
from cmelt_plugin.modules.masking import masked_states

CHOICES = {
    "mem_target": ("original", "masked_input"),
    "mlm_on": ("all", "aligned"),
    "mem_on": ("all", "aligned"),
    "duplicates": DUPLICATES,
    "siglep_reduction": ("equation", "mean"),
}


@dataclass
class CMELTCriterionConfig(UncertaintyLossOptions):
    """One configuration for all five, so that ``criterion._name=cmelt_siglep`` alone switches between them."""

    mem_target: str = field(
        default="original",
        metadata={
            "help": "what MEM reconstructs: the original signal, or masked_input (the released code: the signal after "
            "lead masking, so that masked leads are zero)"
        },
    )
    mlm_on: str = field(
        default="all",
        metadata={
            "help": "whose masked words count: all, or aligned: those of the reports that belong to their ECGs, as only there "
            "the ECG says something about them"
        },
    )
    mem_on: str = field(
        default="all",
        metadata={"help": "whose masked ECG tokens count: all, or aligned: those of the ECGs beside their own reports"},
    )
    duplicates: str = field(
        default="ignore",
        metadata={"help": "a foreign text identical to the ECG's own report: negative (paper), ignore or positive"},
    )
    mlm_weight: float = field(default=1.0, metadata={"help": "weight in cmelt of masked language modelling; 0: left out"})
    mem_weight: float = field(default=1.0, metadata={"help": "weight in cmelt of masked ECG modelling; 0: left out"})
    etm_weight: float = field(default=1.0, metadata={"help": "weight in cmelt of ECG–text matching; 0: left out"})
    siglep_weight: float = field(default=1.0, metadata={"help": "weight in cmelt of the contrastive loss; 0: left out"})
    siglep_reduction: str = field(
        default="equation",
        metadata={
            "help": "equation: the contrastive loss is the sum over all pairs of ECG and text in a batch of B, divided by B "
            "(equation 4 of the paper); mean: divided by B², so that it weighs 1/B of that beside the other losses (the "
            "authors' release)"
        },
    )
    siglep_chunk: int = field(
        default=0,
        metadata={
            "help": "ECGs of a rank at a time in the contrastive loss: less memory where batches of many ranks make the matrix "
            "of similarities large, which is then computed twice; 0: all at once"
        },
    )


@host.register_criterion("cmelt", dataclass=CMELTCriterionConfig)
class CompositeCriterion(UncertaintyCriterion):
    """MLM + MEM + ETM + Siglep ("jointly optimizing four loss functions").

    The hosts keep the names of these classes in checkpoints and compare them when a training goes on.
    """

    choices = CHOICES
    contrastive = "siglep"

    def terms(self) -> Terms:
        return self.with_uncertainty(self.weighted(mlm=self.mlm, mem=self.mem, etm=self.etm, siglep=self.siglep))

    def pair_keys(self, sample: dict[str, Any]) -> PairKeys:
        """Half of the ECGs stand beside a foreign report."""
        return PairKeys(sample["report_id"], sample["text_report_id"], sample["aligned"])

    def match_options(self) -> MatchOptions:
        return super().match_options()._replace(chunk=self.cfg.siglep_chunk)

    def model_options(self, sample: dict[str, Any], terms: Sequence[str]) -> dict[str, Any]:
        options = super().model_options(sample, terms)
        if "mlm" in terms and "mlm_target" in sample:
            options["n_masked_words"] = len(sample["mlm_target"])
        return options

    def mlm(self, batch: Batch) -> LossTerm:
        """Equation 1: mean over the masked words of all ranks; ``mlm_accuracy``."""
        logits, target = batch.output["mlm_logits"], batch.sample["mlm_target"]
        if self.cfg.mlm_on == "aligned":
            mask = batch.sample["net_input"]["mlm_mask"]
            aligned = batch.sample["aligned"][:, None, None].expand(*mask.shape, 1)
            counted = masked_states(aligned, mask, len(target))[:, 0]
            target = target.masked_fill(~counted, IGNORED)
            count = counted.sum() * (1 if batch.rows else 0)
        else:
            count = torch.full((), float(len(target) if batch.rows else 0), device=logits.device)
        loss = batch.mean_over_ranks(mlm_loss(logits, target), count)
        return LossTerm(loss, {"mlm_accuracy": ((logits.argmax(-1) == target).sum(), count)})

    def mem(self, batch: Batch) -> LossTerm:
        """Equation 2: mean squared error of the masked tokens, standardised per lead."""
        inputs, prediction, mask = batch.sample["net_input"], batch.output["mem_prediction"], batch.output["mem_mask"]
        ecg, lead_mask = inputs["ecg"], inputs.get("lead_mask")
        if self.cfg.mem_on == "aligned":
            mask = mask & batch.sample["aligned"][:, None]
        if self.cfg.mem_target == "masked_input" and lead_mask is not None:
            ecg = ecg.masked_fill(lead_mask.unsqueeze(-1), 0.0)
        n_tokens = prediction.shape[1]
        samples_per_token = prediction.shape[2] // ecg.shape[1]
        used = ecg[..., : n_tokens * samples_per_token]
        n_samples = inputs.get("n_samples")
        target = standardise_leads(used, None if n_samples is None else n_samples.clamp(max=used.shape[-1]))
        count = mask.sum() * (1 if batch.rows else 0)
        loss = mem_loss(prediction, patchify(target, n_tokens, samples_per_token), mask)
        return LossTerm(batch.mean_over_ranks(loss, count), {})

    def etm(self, batch: Batch) -> LossTerm:
        """Equation 3: mean over pairs; ``etm_accuracy`` at the threshold 0."""
        logits, aligned = batch.output["etm_logits"], batch.sample["aligned"]
        correct = ((logits > 0) == aligned).sum()
        pairs = torch.full((), float(len(aligned)), device=logits.device)
        return LossTerm(etm_loss(logits, aligned), {"etm_accuracy": (correct, pairs)})

    def siglep(self, batch: Batch) -> LossTerm:
        """Equation 4: this rank's ECGs against the texts of all ranks.

        ``siglep_reduction=equation``: the sum over all B² pairs divided by B. ``mean``: divided by B², as the authors' release
        does. B counts the pairs of all ranks.
        """
        output, sample = batch.output, batch.sample
        counted = torch.full_like(sample["text_report_id"], 1 if batch.rows else 0)
        (text, text_report, text_counted), offset = batch.gather(output["text_embedding"], sample["text_report_id"], counted)
        ecg = output["ecg_embedding"]
        own_column = torch.arange(len(ecg), device=ecg.device) + offset
        loss = siglep_loss_in_rows(
            ecg,
            text,
            sample["report_id"],
            text_report,
            own_column,
            sample["aligned"],
            text_counted,
            self.cfg.duplicates,
            output["logit_scale"],
            output["logit_bias"],
            self.cfg.siglep_chunk,
        )
        if self.cfg.siglep_reduction == "mean":
            loss = loss / batch.rows_of_all_ranks.clamp(min=1)
        return LossTerm(loss, {"logit_scale": of_batch(output["logit_scale"])})


@host.register_criterion("cmelt_mlm", dataclass=CMELTCriterionConfig)
class MLMCriterion(CompositeCriterion):
    """Masked language modelling alone."""

    only = "mlm"


@host.register_criterion("cmelt_mem", dataclass=CMELTCriterionConfig)
class MEMCriterion(CompositeCriterion):
    """Masked ECG modelling alone."""

    only = "mem"


@host.register_criterion("cmelt_etm", dataclass=CMELTCriterionConfig)
class ETMCriterion(CompositeCriterion):
    """ECG–text matching alone."""

    only = "etm"


@host.register_criterion("cmelt_siglep", dataclass=CMELTCriterionConfig)
class SiglepCriterion(CompositeCriterion):
    """The sigmoid contrastive loss alone, over the texts of all ranks."""

    only = "siglep"
