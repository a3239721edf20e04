"""The softmax contrastive loss between two sides of a pair (InfoNCE, van den Oord et al. 2018; CLIP, Radford et al. 2021).

MERL (Liu et al. 2024) uses it twice: between ECG and report (CMA), and between two views of an ECG (UMA).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

REDUCTIONS = ("sum", "mean")


def info_nce(queries: Tensor, keys: Tensor, labels: Tensor, scale: Tensor | float) -> Tensor:
    """Σ over queries of −log softmax of scale · cosine at their positive, nats; the mean over several positives.

    Args:
        queries: ``[B, D]``; lengths do not matter.
        keys: ``[M, D]``.
        labels: ``[B, M]``: 1 positive, −1 negative, 0 left out, as from :func:`cmelt_plugin.losses.pairs.pair_labels`. A
            query without positives adds nothing.
        scale: inverse of the temperature.

    Returns:
        A scalar in float32 (or wider), also for half precision and under autocast.
    """
    wide = torch.promote_types(queries.dtype, torch.float32)
    with torch.autocast(queries.device.type, enabled=False):
        cosine = F.normalize(queries.to(wide), dim=-1) @ F.normalize(keys.to(wide), dim=-1).T
        return softmax_loss(scale * cosine, labels)


def softmax_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Σ over queries of −log softmax of ``logits [B, M]`` at their positive; ``labels [B, M]`` as in :func:`info_nce`."""
    logits = logits.masked_fill(labels == 0, torch.finfo(logits.dtype).min)
    positive = labels > 0
    log_share = logits.log_softmax(dim=1).masked_fill(~positive, 0.0).sum(dim=1)
    return -(log_share / positive.sum(dim=1).clamp(min=1)).sum()


def clip_loss(
    first: Tensor,
    second: Tensor,
    all_first: Tensor,
    all_second: Tensor,
    labels: Tensor,
    scale: Tensor | float,
    reduction: str = "sum",
) -> Tensor:
    """:func:`info_nce` in both directions, Σ over the pairs of this rank; its sum over ranks is the loss of one process.

    Args:
        first, second: ``[B, D]`` the two sides of this rank's pairs.
        all_first, all_second: ``[M, D]`` those of all ranks, with gradient (:func:`cmelt_plugin.losses.gather.gather_rows`); in
            a single process the same tensors.
        labels: ``[B, M]`` of this rank's pairs against all.
        scale: inverse of the temperature.
        reduction: ``sum`` of the two directions (MERL) or their ``mean`` (CLIP).

    Raises:
        ValueError: another ``reduction``.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, not {reduction!r}")
    total = info_nce(first, all_second, labels, scale) + info_nce(second, all_first, labels, scale)
    return total if reduction == "sum" else total / 2
