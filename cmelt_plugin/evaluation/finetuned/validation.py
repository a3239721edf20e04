"""A pass of a fine-tuned model over a validation subset: its outputs for every record, and the metrics of all of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.evaluation.finetuned.table import classifier_table
from cmelt_plugin.evaluation.metrics.classifier import CincScoring, ClassifierEvaluation, evaluate_classifier, probabilities
from cmelt_plugin.evaluation.metrics.identification import identify
from cmelt_plugin.evaluation.metrics.thresholds import choose_thresholds
from cmelt_plugin.evaluation.validation import ValidationPass

logger = logging.getLogger(__name__)


@dataclass
class ClassifierEvaluationOptions:
    """How a classifier is evaluated on a subset.

    Attributes:
        title: what the table is called.
        names: the C classes.
        multi_class: exclusive classes.
        choose: the subset is the one thresholds are chosen on.
        thresholds: ``[C]`` chosen before, on validation data; None: not yet.
        cinc: how the CinC 2021 score is computed; None: it is not.
        n_bootstrap: resamples for intervals; 0: none.
    """

    title: str
    names: Sequence[str]
    multi_class: bool = False
    choose: bool = False
    thresholds: np.ndarray | None = None
    cinc: CincScoring | None = None
    n_bootstrap: int = 0


class ClassifierValidation(ValidationPass):
    """Metrics of :func:`evaluate_classifier` over a whole subset.

    Args:
        n_batches, group: as :class:`ValidationPass`.
        options: how to evaluate.
        subjects: subject id of every record of the manifest, by its number.

    Attributes:
        evaluation: set after the last batch.
        thresholds: those in use; chosen here when ``options.choose``.
    """

    def __init__(self, n_batches: int, group: Any, options: ClassifierEvaluationOptions, subjects: np.ndarray | None = None):
        super().__init__(n_batches, group)
        self.options = options
        self.subjects = subjects
        self.evaluation: ClassifierEvaluation | None = None
        self.thresholds = options.thresholds

    def rows(self, model: Any, sample: dict[str, Any], out: Any) -> dict[str, Tensor]:
        out = model(**sample["net_input"]) if out is None else out
        return {"id": sample["id"], "logits": out["logits"].float(), "labels": sample["labels"].float()}

    def metrics(self, model: Any, columns: dict[str, Tensor]) -> dict[str, float]:
        ids, logits, labels = (columns[name].cpu().numpy() for name in ("id", "logits", "labels"))
        options = self.options
        scores = probabilities(logits, options.multi_class)
        if options.choose and not options.multi_class:
            self.thresholds = choose_thresholds(labels, scores)
        self.evaluation = evaluate_classifier(
            labels,
            scores,
            options.names,
            multi_class=options.multi_class,
            thresholds=self.thresholds,
            chosen_here=options.choose,
            cinc=options.cinc,
            subjects=None if self.subjects is None else self.subjects[ids],
            n_bootstrap=options.n_bootstrap,
        )
        if is_first_rank():
            logger.info("%s", classifier_table(self.evaluation, options.title))
        return self.evaluation.logged()


class IdentificationValidation(ValidationPass):
    """Top-1 accuracy of recognising every subject's second record among the first records of all.

    Args:
        n_batches, group: as :class:`ValidationPass`.
        subjects: subject id of every record of the manifest, by its number.
    """

    def __init__(self, n_batches: int, group: Any, subjects: np.ndarray):
        super().__init__(n_batches, group)
        self.subjects = subjects

    def rows(self, model: Any, sample: dict[str, Any], out: Any) -> dict[str, Tensor]:
        features = out["features"] if out is not None else model(**sample["net_input"])["features"]
        return {"id": sample["id"], "features": features.float()}

    def metrics(self, model: Any, columns: dict[str, Tensor]) -> dict[str, float]:
        identification = identify(columns["features"].cpu().numpy(), self.subjects[columns["id"].cpu().numpy()].tolist())
        return {
            "top1_accuracy": identification.top1,
            "mean_rank": identification.mean_rank,
            "people": float(len(identification.subjects)),  # the name that logs have had from the beginning
        }


def is_first_rank() -> bool:
    """Whether this process is the one that prints."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not distributed or torch.distributed.get_rank() == 0
