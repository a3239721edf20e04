"""MERL's losses: ``merl``, cross-modal and uni-modal alignment (Liu et al. 2024, §3).

Both compare with the records of all ranks, with gradients that reach the rank each came from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cmelt_plugin import host
from cmelt_plugin.criterions.base import counted_nowhere
from cmelt_plugin.criterions.pretraining import Batch, LossTerm, PretrainingCriterion, Terms
from cmelt_plugin.losses.clip import REDUCTIONS, clip_loss
from cmelt_plugin.losses.pairs import DUPLICATES, pair_labels

CHOICES = {"duplicates": DUPLICATES, "directions": REDUCTIONS}


@dataclass
class MERLCriterionConfig(host.Dataclass):
    cma_weight: float = field(
        default=1.0, metadata={"help": "weight of cross-modal alignment, ECG against report; 0: left out"}
    )
    uma_weight: float = field(
        default=1.0, metadata={"help": "weight of uni-modal alignment, one view of an ECG against the other; 0: left out"}
    )
    duplicates: str = field(
        default="ignore",
        metadata={"help": "a foreign report identical to the ECG's own: negative (release), ignore or positive"},
    )
    directions: str = field(
        default="sum", metadata={"help": "the two directions of each loss are added up (sum; release) or averaged (mean; CLIP)"}
    )


@host.register_criterion("merl", dataclass=MERLCriterionConfig)
class MERLCriterion(PretrainingCriterion):
    """CMA + UMA."""

    choices = CHOICES

    def terms(self) -> Terms:
        return {"cma": (self.cfg.cma_weight, self.cma), "uma": (self.cfg.uma_weight, self.uma)}

    def model_options(self, sample: dict[str, Any], terms: Sequence[str]) -> dict[str, Any]:
        return {"objectives": terms}

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        """As the base; the records of a repeated batch, whose gradient is thrown away, enter no batch statistics."""
        return super().forward(model, counted_nowhere(sample), reduce)

    def cma(self, batch: Batch) -> LossTerm:
        """ECG against report, both ways, among the pairs of all ranks; ``logit_scale``, the inverse temperature."""
        output = batch.output
        report = batch.sample["report_id"]
        loss = self._contrast(
            batch, output["ecg_embedding"], output["text_embedding"], report, output["logit_scale"], self.cfg.duplicates
        )
        return LossTerm(loss, {"logit_scale": _logged(output["logit_scale"])})

    def uma(self, batch: Batch) -> LossTerm:
        """One view of an ECG against the other, both ways; every other record is a negative, whatever its report says."""
        output = batch.output
        record = batch.sample["id"]
        loss = self._contrast(batch, output["view1"], output["view2"], record, output["uma_scale"], "negative")
        return LossTerm(loss, {"uma_scale": _logged(output["uma_scale"])})

    def _contrast(self, batch: Batch, first: Tensor, second: Tensor, key: Tensor, scale: Tensor, duplicates: str) -> Tensor:
        """Rows of equal ``key [B]`` are duplicates of each other."""
        counted = torch.full_like(key, 1 if batch.rows else 0)
        (all_first, all_second, all_keys, all_counted), offset = batch.gather(first, second, key, counted)
        own_column = torch.arange(len(key), device=key.device) + offset
        aligned = torch.ones_like(key, dtype=torch.bool)
        labels = pair_labels(key, all_keys, own_column, aligned, duplicates)
        labels = labels.masked_fill(all_counted[None, :] == 0, 0.0)
        return clip_loss(first, second, all_first, all_second, labels, scale, self.cfg.directions)


def _logged(value: Tensor) -> tuple[Tensor, Tensor]:
    return value, torch.ones((), device=value.device)
