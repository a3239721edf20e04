"""Losses of classifiers. Both return a sum over records and the number of records in it, so that batches can be added up."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

UNKNOWN = -1  # class number of a record whose class is not known


class Loss(NamedTuple):
    """A loss summed over records.

    Attributes:
        total: scalar, nats.
        records: int64 scalar, how many records it covers.
    """

    total: Tensor
    records: Tensor


def multi_label_loss(logits: Tensor, labels: Tensor, pos_weight: Tensor | None = None) -> Loss:
    """Binary cross-entropy, averaged over the known labels of a record and summed over records.

    The average makes the loss of a record independent of the number of classes and of unknown labels; where every label
    is known, ``total / records`` is the mean over all cells.

    Args:
        logits: ``[B, C]``.
        labels: ``[B, C]`` 0/1, NaN = unknown.
        pos_weight: ``[C]``, factor on the loss of positives; None: 1.

    Returns:
        A record without any known label is not counted.
    """
    known = ~labels.isnan()
    target = labels.nan_to_num(0.0).float()
    cells = F.binary_cross_entropy_with_logits(logits.float(), target, pos_weight=pos_weight, reduction="none")
    known_cells = known.sum(dim=1)
    per_record = cells.masked_fill(~known, 0.0).sum(dim=1) / known_cells.clamp(min=1)
    return Loss(per_record.sum(), (known_cells > 0).sum())


def multi_class_loss(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Loss:
    """Cross-entropy of exclusive classes, summed over records.

    Args:
        logits: ``[B, C]``.
        target: int64 ``[B]``, number of the class, :data:`UNKNOWN` = left out.
        class_weights: ``[C]``, factor on the loss of a record of each class; None: 1.
    """
    total = F.cross_entropy(logits.float(), target, weight=class_weights, ignore_index=UNKNOWN, reduction="sum")
    return Loss(total, (target != UNKNOWN).sum())


def class_numbers(labels: Tensor) -> Tensor:
    """One 1 a row, ``[B, C]`` → int64 ``[B]``; rows with an unknown label and no 1 become :data:`UNKNOWN`."""
    target = labels.nan_to_num(0.0).argmax(dim=1)
    return torch.where((labels == 1).any(dim=1), target, torch.full_like(target, UNKNOWN))


def balanced_positive_weights(labels: Tensor) -> Tensor:
    """Negatives per positive of each class among known labels: ``[N, C]`` → float32 ``[C]``; 1 without either."""
    known = ~labels.isnan()
    positives = (labels == 1).sum(dim=0)
    negatives = known.sum(dim=0) - positives
    weights = negatives / positives.clamp(min=1)
    return torch.where((positives > 0) & (negatives > 0), weights, torch.ones_like(weights)).float()


def balanced_class_weights(target: Tensor, n_classes: int) -> Tensor:
    """Weights under which every class that occurs counts the same and the mean over records is 1: float32 ``[C]``."""
    counts = torch.bincount(target[target != UNKNOWN], minlength=n_classes).float()
    occurring = (counts > 0).sum().clamp(min=1)
    return torch.where(counts > 0, counts.sum() / (occurring * counts.clamp(min=1)), torch.ones_like(counts))
