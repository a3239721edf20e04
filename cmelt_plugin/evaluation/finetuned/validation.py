"""A pass of a classifier over a subset: what it says about every record, and the figures of all of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.evaluation.finetuned.table import classifier_table
from cmelt_plugin.evaluation.metrics.classifier import CincScoring, Judgement, judge_scores, probabilities
from cmelt_plugin.evaluation.metrics.identification import identify
from cmelt_plugin.evaluation.metrics.thresholds import choose_thresholds
from cmelt_plugin.evaluation.validation import GatheredSubset

logger = logging.getLogger(__name__)


@dataclass
class JudgingOptions:
    """How a subset of a classification task is judged.

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


class ClassificationSubset(GatheredSubset):
    """Figures of :func:`judge_scores` over a whole subset.

    Args:
        n_batches, group: as :class:`GatheredSubset`.
        options: how to judge.
        subjects: subject id of every record of the manifest, by its number.

    Attributes:
        judgement: set after the last batch.
        thresholds: those in use; chosen here when ``options.choose``.
    """

    def __init__(self, n_batches: int, group: Any, options: JudgingOptions, subjects: np.ndarray | None = None):
        super().__init__(n_batches, group)
        self.options = options
        self.subjects = subjects
        self.judgement: Judgement | None = None
        self.thresholds = options.thresholds

    def rows(self, model: Any, sample: dict[str, Any], out: Any) -> dict[str, Tensor]:
        out = model(**sample["net_input"]) if out is None else out
        return {"id": sample["id"], "logits": out["logits"].float(), "labels": sample["labels"].float()}

    def figures(self, model: Any, columns: dict[str, Tensor]) -> dict[str, float]:
        ids, logits, labels = (columns[name].cpu().numpy() for name in ("id", "logits", "labels"))
        options = self.options
        scores = probabilities(logits, options.multi_class)
        if options.choose and not options.multi_class:
            self.thresholds = choose_thresholds(labels, scores)
        self.judgement = judge_scores(
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
            logger.info("%s", classifier_table(self.judgement, options.title))
        return self.judgement.logged()


class IdentificationSubset(GatheredSubset):
    """Top-1 accuracy of recognising every person's second record among the first records of all.

    Args:
        n_batches, group: as :class:`GatheredSubset`.
        subjects: subject id of every record of the manifest, by its number.
    """

    def __init__(self, n_batches: int, group: Any, subjects: np.ndarray):
        super().__init__(n_batches, group)
        self.subjects = subjects

    def rows(self, model: Any, sample: dict[str, Any], out: Any) -> dict[str, Tensor]:
        features = out["features"] if out is not None else model(**sample["net_input"])["features"]
        return {"id": sample["id"], "features": features.float()}

    def figures(self, model: Any, columns: dict[str, Tensor]) -> dict[str, float]:
        found = identify(columns["features"].cpu().numpy(), self.subjects[columns["id"].cpu().numpy()].tolist())
        people = len(found.subjects)
        return {"top1_accuracy": found.top1, "mean_rank": found.mean_rank, "people": float(people)}


def is_first_rank() -> bool:
    """Whether this process is the one that prints."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not distributed or torch.distributed.get_rank() == 0
