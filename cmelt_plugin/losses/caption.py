"""Captioning: the report, word by word, from the ECG and the words before (Yu et al. 2022, CoCa)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from cmelt_plugin.losses.mlm import IGNORED, mlm_loss


class CaptionLoss(NamedTuple):
    """Sums over tokens.

    Attributes:
        total: float32 scalar, cross-entropy in nats.
        tokens: int64 scalar, how many it covers.
        correct: int64 scalar, how many of them are the likeliest.
    """

    total: Tensor
    tokens: Tensor
    correct: Tensor


def caption_loss(logits: Tensor, labels: Tensor) -> CaptionLoss:
    """Cross-entropy of the next tokens of B texts.

    Args:
        logits: ``[B, N, V]``.
        labels: ``[B, N]`` int64, the token to be foretold at each place, or :data:`~cmelt_plugin.losses.mlm.IGNORED`.
    """
    total = mlm_loss(logits.flatten(0, 1), labels.flatten())
    return CaptionLoss(total, (labels != IGNORED).sum(), (logits.detach().argmax(dim=-1) == labels).sum())
