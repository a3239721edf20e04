"""A fine-tuned regression: a pass over a validation subset, and the values it gives for the records of a manifest."""

from __future__ import annotations

import logging
from typing import Any, Callable

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.evaluation.finetuned.checkpoint import FinetunedModel
from cmelt_plugin.evaluation.finetuned.validation import is_first_rank
from cmelt_plugin.evaluation.metrics.regression import regression_intervals, regression_metrics
from cmelt_plugin.evaluation.validation import ValidationPass
from cmelt_plugin.models.files.loaded_settings import TARGET_DEVIATION, TARGET_MEAN

logger = logging.getLogger(__name__)

TASK = "cmelt_regression"


class RegressionValidation(ValidationPass):
    """Metrics of :func:`cmelt_plugin.evaluation.metrics.regression.regression_metrics` over a whole subset.

    Args:
        n_batches, group: as :class:`ValidationPass`.
        title: what the subset is called.
        scale: gives mean and deviation, in units of which the model's outputs are.
        subjects: subject id of every record of the manifest, by its number.
        n_bootstrap: resamples for intervals; 0: none.
    """

    def __init__(
        self,
        n_batches: int,
        group: Any,
        title: str,
        scale: Callable[[], tuple[float, float]],
        subjects: np.ndarray,
        n_bootstrap: int = 0,
    ):
        super().__init__(n_batches, group)
        self.title, self.scale, self.subjects, self.n_bootstrap = title, scale, subjects, n_bootstrap

    def rows(self, model: Any, sample: dict[str, Any], out: Any) -> dict[str, Tensor]:
        out = model(**sample["net_input"]) if out is None else out
        return {"id": sample["id"], "logits": out["logits"].float(), "labels": sample["labels"].float()}

    def metrics(self, model: Any, columns: dict[str, Tensor]) -> dict[str, float]:
        ids, logits, labels = (columns[name].cpu().double().numpy() for name in ("id", "logits", "labels"))
        mean, deviation = self.scale()
        target, value = labels[:, 0], mean + deviation * logits[:, 0]
        metrics = {name: number for name, number in regression_metrics(target, value).items() if not np.isnan(number)}
        if self.n_bootstrap:
            subjects = self.subjects[ids.astype(np.int64)].tolist()
            intervals = regression_intervals(target, value, subjects=subjects, n=self.n_bootstrap)
            for name in [name for name in metrics if name in intervals]:
                metrics[f"{name}_low"], metrics[f"{name}_high"] = intervals[name]
        if is_first_rank():
            shown = ", ".join(f"{name} {number:.4f}" for name, number in metrics.items())
            logger.info("%s: %d records, %s", self.title, len(target), shown)
        return metrics


@torch.no_grad()
def finetuned_values(finetuned: FinetunedModel, manifest: Manifest, *options: Any) -> np.ndarray:
    """Values of every record of a split, float64 ``[N]``; ``options`` as those of :meth:`FinetunedModel.logits`."""
    logits = finetuned.logits(manifest, *options)[:, 0]
    return finetuned.state[TARGET_MEAN] + finetuned.state[TARGET_DEVIATION] * logits.astype(np.float64)
