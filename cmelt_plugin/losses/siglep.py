"""The sigmoid contrastive loss (paper §3.2, equation 4; Zhai et al. 2023, SigLIP)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from cmelt_plugin.losses.pairs import pair_labels


def siglep_loss(
    ecg: Tensor,
    text: Tensor,
    labels: Tensor,
    scale: Tensor | float = 1.0,
    bias: Tensor | float = 0.0,
) -> Tensor:
    """Σ over pairs of −log σ(y (scale · x′ᵀt′ + bias)), nats; divided by the batch size it is equation 4.

    Args:
        ecg: ``[B, D]`` embeddings x′.
        text: ``[M, D]`` embeddings t′, of this rank or of all.
        labels: ``[B, M]`` from :func:`pair_labels`; pairs labelled 0 are left out.
        scale, bias: 1 and 0 in the paper, learned in SigLIP.
    """
    # Autocast would take the product in half precision; the scale multiplies its rounding errors.
    with torch.autocast(ecg.device.type, enabled=False):
        logits = scale * (ecg.float() @ text.float().T) + bias
        return -(F.logsigmoid(labels * logits) * (labels != 0)).sum()


def siglep_loss_in_rows(
    ecg: Tensor,
    text: Tensor,
    ecg_report: Tensor,
    text_report: Tensor,
    own_column: Tensor,
    aligned: Tensor,
    counted: Tensor,
    duplicates: str = "negative",
    scale: Tensor | float = 1.0,
    bias: Tensor | float = 0.0,
    rows: int = 0,
) -> Tensor:
    """:func:`siglep_loss` of :func:`pair_labels`, ``rows`` ECGs at a time, so that no ``[B, M]`` matrix is ever whole.

    Similarities are computed again in the backward pass; the memory is that of ``rows × M`` pairs.

    Args:
        counted: ``[M]`` integers, 0 = a text that is nobody's negative or positive.
        rows: ECGs at a time; 0: all, nothing computed twice.
        the others: as there.
    """

    def part(some_ecg: Tensor, report: Tensor, column: Tensor, is_aligned: Tensor, all_text: Tensor) -> Tensor:
        labels = pair_labels(report, text_report, column, is_aligned, duplicates) * counted[None, :]
        return siglep_loss(some_ecg, all_text, labels, scale, bias)

    if rows <= 0 or rows >= len(ecg):
        return part(ecg, ecg_report, own_column, aligned, text)
    pieces: Iterator[tuple[Tensor, Tensor, Tensor, Tensor]] = zip(
        *(tensor.split(rows) for tensor in (ecg, ecg_report, own_column, aligned))
    )
    if not torch.is_grad_enabled():
        return torch.stack([part(*piece, text) for piece in pieces]).sum()
    losses = [checkpoint(part, *piece, text, use_reentrant=False, preserve_rng_state=False) for piece in pieces]
    return torch.stack(losses).sum()
