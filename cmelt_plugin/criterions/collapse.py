"""Contrastive training can collapse: every record gets one embedding, and the loss is that of guessing, for good."""

import logging
from typing import Any, Optional

import torch
from torch import Tensor

from cmelt_plugin.errors import DataError
from cmelt_plugin.losses.gather import sum_over_ranks

logger = logging.getLogger(__name__)

GUESSING = 0.99
"""Share of the loss of guessing from which nothing is told apart."""
ONE_POINT = 0.05
"""Spread under which embeddings are one point."""
ONE_UNCERTAINTY = 1e-3
"""Standard deviation of uncertainties, as a share of their mean, under which they are all alike."""
UNCERTAINTY_WINDOW = 200
"""Batches over which they must be."""


def spread(embedding: Tensor) -> Tensor:
    """Root of the summed variances of unit vectors ``[B, E]``: 0 if all are one, 1 if their mean is the origin."""
    embedding = embedding.detach().float()
    return (embedding - embedding.mean(dim=0)).square().sum(dim=1).mean().sqrt()


def loss_of_guessing(labels: Tensor) -> Tensor:
    """Cross-entropy, summed over the rows of ``labels [B, M]``, of equal logits at all that are not left out (0): Σ ln M."""
    return (labels != 0).sum(dim=1).clamp(min=1).float().log().sum()


class CollapseWatch:
    """Ends a training that has collapsed. Once in ``window`` batches it makes the CPU wait for a GPU.

    Args:
        window: training batches; 0: it never ends one.
    """

    def __init__(self, window: int):
        self.window = window
        self._batches = 0
        self._sums: Optional[Tensor] = None

    def add(self, of_guessing: Tensor, spread: Tensor, counts: bool, group: Optional[Any]) -> None:
        """Note a batch; every rank must call this for each of its batches.

        Args:
            of_guessing: loss of the batch, as a share of that of guessing.
            spread: the smaller one of both sides' embeddings.
            counts: False: the batch is repeated.
            group: ranks that train together.

        Raises:
            DataError: on average over the last ``window`` batches of all ranks, embeddings were one point and the loss that of
                guessing.
        """
        if self.window <= 0:
            return
        values = torch.stack([of_guessing, spread, torch.ones_like(spread)]).detach() * (1.0 if counts else 0.0)
        self._sums = values if self._sums is None else self._sums + values
        self._batches += 1
        if self._batches < self.window:
            return
        share, width, batches = sum_over_ranks(self._sums, group).tolist()
        self._batches, self._sums = 0, None
        if share >= GUESSING * batches and width < ONE_POINT * batches:
            raise DataError(
                f"the training has collapsed: over the last {self.window} batches all ECGs or all texts had one embedding, and "
                f"the contrastive loss was {share / batches:.3f} of that of guessing. Begin anew, or from an earlier "
                "checkpoint, with a lower optimization.lr or a longer warm-up (lr_scheduler.phase_ratio); "
                "criterion.collapse_window=0 goes on"
            )


class UncertaintyWatch:
    """Says in the log, once for each kind of record, that learned uncertainties have become the same for all.

    Each rank watches its own batches; once in ``window`` batches it makes the CPU wait for a GPU.

    Args:
        window: batches that count.
    """

    def __init__(self, window: int = UNCERTAINTY_WINDOW):
        self.window = window
        self._batches: dict[str, int] = {}
        self._sums: dict[str, Tensor] = {}

    def add(self, name: str, uncertainty: Tensor, counts: bool = True) -> Tensor:
        """Note a batch of ``uncertainty [B]`` of the records ``name``; ``counts=False``: only measure it.

        Returns:
            Their standard deviation.
        """
        uncertainty = uncertainty.detach().float()
        deviation = uncertainty.std(correction=0)
        seen = self._batches.get(name, 0)
        if not counts or seen < 0:
            return deviation
        share = deviation / uncertainty.mean().clamp(min=torch.finfo(torch.float32).tiny)
        self._sums[name] = share if seen == 0 else self._sums[name] + share
        self._batches[name] = seen + 1
        if seen + 1 == self.window:
            mean = float(self._sums.pop(name)) / self.window
            flat = mean < ONE_UNCERTAINTY
            self._batches[name] = -1 if flat else 0
            if flat:
                logger.warning(
                    "the uncertainty of all %s is the same: over the last %d batches its standard deviation was %.2g of its "
                    "mean (less than %g). It says nothing of a record; this is said once",
                    name,
                    self.window,
                    mean,
                    ONE_UNCERTAINTY,
                )
        return deviation
