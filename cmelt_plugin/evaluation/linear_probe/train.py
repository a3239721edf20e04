"""The linear probe: one linear layer on fixed features (paper §4.1.2: Adam, learning rate 1e-3, batches of 128, 200 epochs).

Several probes that differ in rows, order and initial weights are trained side by side, which takes little longer than
one. What the paper leaves open: features are used as they are (no standardisation), and of the 200 epochs the one of best
macro AUC on the validation split is kept; the test split takes no part in any choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cmelt_plugin.data.batches.rng import epoch_order
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.inference.linear_probe import Probe
from cmelt_plugin.modules.linear_head import initialise_head

SELECT = ("best_valid", "last")

# Epoch number, from 1 → the epoch's batches, each an array of rows.
Batches = Callable[[int], Sequence[np.ndarray]]


@dataclass(frozen=True)
class ProbeSettings:
    """How a probe is trained; the defaults are the paper's protocol.

    Attributes:
        learning_rate, weight_decay: of Adam.
        batch_size, epochs: the last batch of an epoch may be smaller.
        standardise: train on features of zero mean and unit variance over the training rows; the finished probe still
            takes raw features.
        select: ``best_valid`` (the epoch of best validation macro AUC, the earliest of equals) or ``last``.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 128
    epochs: int = 200
    standardise: bool = False
    select: str = "best_valid"


@dataclass(frozen=True)
class ProbeRun:
    """One of several probes trained side by side.

    Attributes:
        batches: see :data:`Batches`; runs trained together have batches of the same sizes.
        weight0: initial weights float32 ``[C, D]``.
        bias0: ``[C]``.
        rows: rows of the features that it trains on, for standardisation.
    """

    batches: Batches
    weight0: np.ndarray
    bias0: np.ndarray
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


def seeded_run(rows: np.ndarray, n_classes: int, dim: int, seed: int, batch_size: int = 128) -> ProbeRun:
    """Order and initial weights from one seed: the order a data set of these rows has in training with ``common.seed``."""
    rows = np.asarray(rows, dtype=np.int64)
    weight0, bias0 = initial_weights(n_classes, dim, seed)

    def batches(epoch: int) -> list[np.ndarray]:
        order = rows[epoch_order(seed, epoch, len(rows))]
        return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

    return ProbeRun(batches, weight0, bias0, rows)


def initial_weights(n_classes: int, dim: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights ``[C, D]`` and bias ``[C]`` as the head of a fine-tuned classifier begins, from one seed."""
    weight, bias = torch.empty(n_classes, dim), torch.empty(n_classes)
    initialise_head(weight, bias, torch.Generator().manual_seed(seed))
    return weight.numpy(), bias.numpy()


def train_probes(
    features: np.ndarray,
    labels: np.ndarray,
    runs: Sequence[ProbeRun],
    settings: ProbeSettings = ProbeSettings(),
    valid: tuple[np.ndarray, np.ndarray] | None = None,
    progress: Callable[[], Any] | None = None,
) -> list[Probe]:
    """Train several probes on the same features.

    The loss is that of :func:`cmelt_plugin.losses.classification.multi_label_loss`, written for several probes at once with
    the weights of labels computed beforehand: binary cross-entropy, averaged over the known labels of a record, then over the
    records of the batch that have any.

    Args:
        features: float32 ``[N, D]``.
        labels: ``[N, C]`` 0/1, NaN = unknown.
        runs: what differs between them.
        settings: see :class:`ProbeSettings`.
        valid: features and labels of the validation split, needed for ``select=best_valid``.
        progress: called after every epoch.

    Raises:
        ValueError: shapes do not fit, or runs have batches of different sizes.
        DataError: ``best_valid`` without a validation split in which some class has both labels, or unknown ``select``.
    """
    if settings.select not in SELECT:
        raise DataError(f"select must be one of {', '.join(SELECT)}, not {settings.select!r}")
    if len(features) != len(labels) or any(run.weight0.shape != (labels.shape[1], features.shape[1]) for run in runs):
        raise ValueError(f"features {features.shape}, labels {labels.shape} and initial weights do not fit")
    selecting = settings.select == "best_valid"
    monitor = _Monitor(*valid) if selecting and valid is not None else None
    if selecting and (monitor is None or not monitor.columns):
        raise DataError(
            "select best_valid needs a validation split with positives and negatives of some class; "
            "give one, or take the last epoch (--select last)"
        )
    x, y = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)), torch.from_numpy(labels.astype(np.float32))
    share, y = _label_shares(y), torch.nan_to_num(y)
    shift, scale = _standardisation(x, runs, settings.standardise)
    # Runs first: [S, D, C] and [S, 1, C], one batched product for all of them.
    weight = torch.stack([torch.from_numpy(np.array(run.weight0.T, dtype=np.float32)) for run in runs]).requires_grad_()
    bias = torch.stack([torch.from_numpy(np.array(run.bias0[None], dtype=np.float32)) for run in runs]).requires_grad_()
    optimiser = torch.optim.Adam([weight, bias], lr=settings.learning_rate, weight_decay=settings.weight_decay)
    best = [Probe(run.weight0, run.bias0, 0, np.zeros(0)) for run in runs]
    best_auc = np.full(len(runs), -np.inf)
    history: list[np.ndarray] = []
    for epoch in range(1, settings.epochs + 1):
        for rows in _steps([run.batches(epoch) for run in runs]):
            batch = x.index_select(0, rows.reshape(-1)).view(*rows.shape, -1)
            if settings.standardise:
                batch = (batch - shift) * scale
            target = y.index_select(0, rows.reshape(-1)).view(*rows.shape, -1)
            cell = F.binary_cross_entropy_with_logits(torch.baddbmm(bias, batch, weight), target, reduction="none")
            if share is None:
                loss = cell.mean(dim=(1, 2))
            else:
                of_label = share.index_select(0, rows.reshape(-1)).view(*rows.shape, -1)
                loss = (cell * of_label).sum(dim=(1, 2)) / of_label.sum(dim=(1, 2)).clamp(min=1)
            optimiser.zero_grad()
            loss.sum().backward()  # no run's weights enter another's loss
            optimiser.step()
        if monitor is not None or epoch == settings.epochs:
            finished = _on_raw_features(weight.detach(), bias.detach(), shift, scale)
            aucs = np.full(len(runs), np.inf) if monitor is None else monitor.macro_aucs(*finished)
            history.append(aucs)
            for s in np.flatnonzero(aucs > best_auc):
                best[s] = Probe(finished[0][s].T.clone().numpy(), finished[1][s, 0].clone().numpy(), epoch, np.zeros(0))
                best_auc[s] = aucs[s]
        if progress is not None:
            progress()
    if monitor is None:
        return best
    return [probe._replace(valid_auc=np.array([aucs[s] for aucs in history])) for s, probe in enumerate(best)]


class _Monitor:
    """Macro AUC on the validation split after every epoch, for all runs at once."""

    def __init__(self, features: np.ndarray, labels: np.ndarray) -> None:
        self.features = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))
        labels = np.asarray(labels, dtype=np.float32)
        self.columns: list[tuple[int, np.ndarray, np.ndarray]] = []
        for c in range(labels.shape[1]):
            positive, negative = np.flatnonzero(labels[:, c] > 0.5), np.flatnonzero(labels[:, c] <= 0.5)
            if len(positive) and len(negative):
                self.columns.append((c, positive, negative))

    def macro_aucs(self, weight: Tensor, bias: Tensor) -> np.ndarray:
        """``weight [S, D, C]``, ``bias [S, 1, C]`` → float64 ``[S]``."""
        runs, dim, classes = weight.shape
        logits = self.features @ weight.permute(1, 0, 2).reshape(dim, -1) + bias.reshape(-1)
        by_column = logits.T.reshape(runs, classes, -1).numpy()
        areas = np.empty((runs, len(self.columns)))
        for i, (c, positive, negative) in enumerate(self.columns):
            for s in range(runs):
                # Counting the negatives below each positive is the rank formula without ranking the positives.
                low, high = np.sort(by_column[s, c, negative]), np.sort(by_column[s, c, positive])
                below = np.searchsorted(low, high).sum() + np.searchsorted(low, high, "right").sum()
                areas[s, i] = below / (2 * len(low) * len(high))
        return areas.mean(axis=1)


def _label_shares(labels: Tensor) -> Tensor | None:
    """Weight of each label in its record, ``[N, C]``: 1 / number of known ones, 0 if unknown; None where all are known."""
    known = ~torch.isnan(labels)
    return None if known.all() else known / known.sum(dim=1, keepdim=True).clamp(min=1)


def _steps(epochs: Sequence[Sequence[np.ndarray]]) -> list[Tensor]:
    """The runs' batches of one epoch, step by step: int64 ``[S, B]``."""
    sizes = [[len(rows) for rows in batches] for batches in epochs]
    if any(size != sizes[0] for size in sizes):
        raise ValueError("runs trained side by side must have batches of the same sizes")
    return [torch.from_numpy(np.stack(rows).astype(np.int64, copy=False)) for rows in zip(*epochs)]


def _standardisation(x: Tensor, runs: Sequence[ProbeRun], wanted: bool) -> tuple[Tensor, Tensor]:
    """Mean and reciprocal standard deviation over each run's rows, ``[S, 1, D]``; 0 and 1 where not wanted."""
    if not wanted:
        return torch.zeros(len(runs), 1, x.shape[1]), torch.ones(len(runs), 1, x.shape[1])
    shift, scale = [], []
    for run in runs:
        rows = x[torch.from_numpy(np.asarray(run.rows, dtype=np.int64))].double()
        if not len(rows):
            raise ValueError("standardise: a run does not say which rows it trains on")
        deviation = rows.std(dim=0, unbiased=False)
        shift.append(rows.mean(dim=0))
        # A feature without variance in the training rows says nothing; unscaled it does no harm.
        scale.append(torch.where(deviation > 1e-8, 1 / deviation.clamp(min=1e-8), torch.ones_like(deviation)))
    return torch.stack(shift).float()[:, None], torch.stack(scale).float()[:, None]


def _on_raw_features(weight: Tensor, bias: Tensor, shift: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The same probes for features that are not standardised."""
    raw = weight * scale.transpose(1, 2)
    return raw, bias - torch.bmm(shift, raw)
