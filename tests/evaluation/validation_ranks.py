"""A gathered subset in one of two processes. No test code here."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from cmelt_plugin.evaluation.finetuned.validation import (
    ClassifierEvaluationOptions,
    ClassifierValidation,
    IdentificationValidation,
)
from cmelt_plugin.evaluation.validation import ValidationPass


class Squares(ValidationPass):
    """Sum of the squares of the record numbers."""

    def rows(self, model: Any, sample: dict[str, Any], out: Any) -> dict[str, Tensor]:
        return {"id": sample["id"], "x": sample["id"].float() ** 2}

    def metrics(self, model: Any, columns: dict[str, Tensor]) -> dict[str, float]:
        return {"sum": float(columns["x"].sum())}


def metrics_of_rank(batches: list[list[int]], n_batches: int) -> dict[str, float]:
    """Feed the batches, then empty ones up to ``n_batches``."""
    subset = Squares(n_batches, dist.group.WORLD)
    samples = [{"id": torch.tensor(ids)} for ids in batches] + [{}] * (n_batches - len(batches))
    return [subset.add(None, sample) for sample in samples][-1]


def classification_of_rank(
    options: ClassifierEvaluationOptions, subjects: Any, batches: list[dict[str, Tensor]], n_batches: int, distributed: bool
) -> tuple[dict[str, float], Any]:
    """Figures and thresholds of a classification subset; each batch is ``id``, ``logits``, ``labels``."""
    subset = ClassifierValidation(n_batches, dist.group.WORLD if distributed else None, options, subjects)
    figures = _feed(subset, batches, n_batches)
    return figures, subset.thresholds


def identification_of_rank(subjects: Any, batches: list[dict[str, Tensor]], n_batches: int, distributed: bool):
    """Figures of an identification subset; each batch is ``id``, ``features``."""
    return _feed(IdentificationValidation(n_batches, dist.group.WORLD if distributed else None, subjects), batches, n_batches)


def _feed(subset: ValidationPass, batches: list[dict[str, Tensor]], n_batches: int) -> dict[str, float]:
    padded = [*batches, *[{}] * (n_batches - len(batches))]
    return [subset.add(None, batch, batch) for batch in padded][-1]
