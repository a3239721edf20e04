"""Which pairs of a batch match: shared by all contrastive losses."""

from __future__ import annotations

import torch
from torch import Tensor

DUPLICATES = ("negative", "ignore", "positive")


def pair_labels(
    ecg_report: Tensor,
    text_report: Tensor,
    own_column: Tensor,
    aligned: Tensor,
    duplicates: str = "negative",
) -> Tensor:
    """What every ECG–text pair is in a contrastive loss: y of equation 4 in the C-MELT paper.

    Args:
        ecg_report: ``[B]`` report id of each ECG's own report.
        text_report: ``[M]`` report id of each text in the batch (of all ranks), swapped ones included.
        own_column: ``[B]`` column of the text that stands beside each ECG.
        aligned: ``[B]`` bool, False where that text was swapped for a negative.
        duplicates: what a *foreign* text is that reads the same as the ECG's own report: a ``negative`` (the paper),
            ``ignore`` (left out of the loss) or a ``positive``.

    Returns:
        ``[B, M]`` float32: 1 match, -1 mismatch, 0 left out.
    """
    if duplicates not in DUPLICATES:
        raise ValueError(f"duplicates must be one of {', '.join(DUPLICATES)}, not {duplicates!r}")
    labels = torch.full((len(ecg_report), len(text_report)), -1.0, device=ecg_report.device)
    if duplicates != "negative":
        same = ecg_report[:, None] == text_report[None, :]
        labels.masked_fill_(same, 0.0 if duplicates == "ignore" else 1.0)
    own = torch.where(aligned, 1.0, -1.0)
    return labels.scatter(1, own_column[:, None], own[:, None])


def class_relations(labels: Tensor) -> Tensor:
    """Labels ``[B, C]``, 1 present, 0 absent, NaN unknown → float32 1 positive, −1 negative, 0 left out."""
    return torch.nan_to_num(2 * labels.float() - 1, nan=0.0)
