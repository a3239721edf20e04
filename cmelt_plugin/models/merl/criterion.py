"""MERL's losses: ``merl``, cross-modal and uni-modal alignment (Liu et al. 2024, §3), and ours, ECGs against texts of classes.

All compare with the records of all ranks, with gradients that reach the rank each came from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cmelt_plugin import host
from cmelt_plugin.criterions.pretraining import Batch, LossTerm, Terms, of_batch
from cmelt_plugin.criterions.uncertainty import UncertaintyCriterion, UncertaintyLossOptions
from cmelt_plugin.losses.clip import REDUCTIONS, clip_loss, info_nce
from cmelt_plugin.losses.pairs import DUPLICATES, class_relations

CHOICES = {"duplicates": DUPLICATES, "directions": REDUCTIONS}


@dataclass
class MERLCriterionConfig(UncertaintyLossOptions):
    cma_weight: float = field(
        default=1.0, metadata={"help": "weight of cross-modal alignment, ECG against report; 0: left out"}
    )
    uma_weight: float = field(
        default=1.0, metadata={"help": "weight of uni-modal alignment, one view of an ECG against the other; 0: left out"}
    )
    label_weight: float = field(
        default=0.0,
        metadata={
            "help": "weight of ECGs against the texts of their classes, where the manifest directory has labels and class "
            "texts; 0: left out (release)"
        },
    )
    duplicates: str = field(
        default="ignore",
        metadata={"help": "a foreign report identical to the ECG's own: negative (release), ignore or positive"},
    )
    directions: str = field(
        default="sum", metadata={"help": "the two directions of each loss are added up (sum; release) or averaged (mean; CLIP)"}
    )


@host.register_criterion("merl", dataclass=MERLCriterionConfig)
class MERLCriterion(UncertaintyCriterion):
    """CMA + UMA, and where asked for class texts."""

    choices = CHOICES
    contrastive = "cma"

    def terms(self) -> Terms:
        return self.with_uncertainty(self.weighted(cma=self.cma, uma=self.uma, label=self.label))

    def model_options(self, sample: dict[str, Any], terms: Sequence[str]) -> dict[str, Any]:
        options = super().model_options(sample, terms)
        if "label" not in terms:
            return options
        text, padding = self.task.class_texts(self.training, sample["id"].device)
        return {**options, "class_text": text, "class_text_padding_mask": padding}

    def cma(self, batch: Batch) -> LossTerm:
        """ECG against report, both ways, among the pairs of all ranks; ``logit_scale``, the inverse temperature."""
        output = batch.output
        report = batch.sample["report_id"]
        loss = self._contrast(
            batch, output["ecg_embedding"], output["text_embedding"], report, output["logit_scale"], self.cfg.duplicates
        )
        return LossTerm(loss, {"logit_scale": of_batch(output["logit_scale"])})

    def uma(self, batch: Batch) -> LossTerm:
        """One view of an ECG against the other, both ways; every other record is a negative, whatever its report says."""
        output = batch.output
        record = batch.sample["id"]
        loss = self._contrast(batch, output["view1"], output["view2"], record, output["uma_scale"], "negative")
        return LossTerm(loss, {"uma_scale": of_batch(output["uma_scale"])})

    def label(self, batch: Batch) -> LossTerm:
        """The text of each class against the ECGs of all ranks, of which several have it, and each ECG against the classes."""
        output, own = batch.output, class_relations(batch.sample["labels"])
        counted = torch.full_like(batch.sample["id"], 1 if batch.rows else 0)
        (ecg, relations, all_counted), _ = batch.gather(output["ecg_embedding"], own, counted)
        of_classes = relations.T * all_counted
        both = (of_classes > 0).any(dim=1) & (of_classes < 0).any(dim=1)  # else there is nothing to tell apart
        classes, scale = output["class_embedding"], output["logit_scale"]
        loss = info_nce(classes, ecg, of_classes * both[:, None], scale) / both.sum().clamp(min=1) * batch.rows
        loss = loss + info_nce(output["ecg_embedding"], classes, own, scale)
        return LossTerm(loss if self.cfg.directions == "sum" else loss / 2, {})

    def _contrast(self, batch: Batch, first: Tensor, second: Tensor, key: Tensor, scale: Tensor, duplicates: str) -> Tensor:
        """Rows of equal ``key [B]`` are duplicates of each other."""
        (all_first, all_second), labels = batch.gather_pairs(key, duplicates, first, second)
        return clip_loss(first, second, all_first, all_second, labels, scale, self.cfg.directions)
