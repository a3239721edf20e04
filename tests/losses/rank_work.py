"""What the two processes of the loss tests compute. No test code here: both import this module anew."""

from __future__ import annotations

import functools

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from cmelt_plugin.losses import beat_similarity, clip_loss, gloria_similarity, local_loss, pair_labels, siglep_loss
from cmelt_plugin.losses.gather import gather_rows, row_counts, sum_over_ranks


def gather_part(rows: Tensor, weight: Tensor) -> tuple[list[int], Tensor, Tensor, Tensor]:
    """Counts, gathered rows, this rank's part of a loss over all rows, its gradient at ``rows``.

    The part of rank r is Σ (gathered · weight_r)², so every rank's part depends on every rank's rows.
    """
    rows = rows.clone().requires_grad_()
    counts = row_counts(len(rows), rows.device, dist.group.WORLD)
    everything = gather_rows(rows, counts, dist.group.WORLD)
    loss = (everything * weight).square().sum()
    loss.backward()
    return counts, everything.detach(), loss.detach(), rows.grad


def gather_beside(rows: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of Σ (all rows + others): autograd hands one and the same gradient to both terms."""
    rows, others = rows.clone().requires_grad_(), others.clone().requires_grad_()
    earlier = others * 1.0  # made first, so its backward runs after that of the gathering
    everything = gather_rows(rows, row_counts(len(rows), rows.device, dist.group.WORLD), dist.group.WORLD)
    ((everything + earlier) * torch.ones_like(others)).sum().backward()
    return rows.grad, others.grad


def summed(values: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over ranks, and the values it was called with, which must not change."""
    return sum_over_ranks(values, dist.group.WORLD), values


def siglep_over_ranks(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """This rank's ECGs against the texts of all: loss, gradients of ECGs, texts and scale."""
    ecg, text = (batch[name].clone().requires_grad_() for name in ("ecg", "text"))
    scale = batch["scale"].clone().requires_grad_()
    counts = row_counts(len(text), text.device, dist.group.WORLD)
    all_text = gather_rows(text, counts, dist.group.WORLD)
    reports = gather_rows(batch["text_report"], counts, dist.group.WORLD)
    own = torch.arange(len(ecg)) + sum(counts[: dist.get_rank()])
    labels = pair_labels(batch["report"], reports, own, batch["aligned"], "ignore")
    loss = siglep_loss(ecg, all_text, labels, scale, batch["bias"])
    loss.backward()
    return loss.detach(), ecg.grad, text.grad, scale.grad


def clip_over_ranks(
    first: Tensor, second: Tensor, report: Tensor, duplicates: str, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """This rank's part of the softmax contrastive loss over all pairs, and its gradients."""
    first, second, scale = (value.clone().requires_grad_() for value in (first, second, scale))
    group = dist.group.WORLD
    counts = row_counts(len(first), first.device, group)
    all_first, all_second, all_report = (gather_rows(rows, counts, group) for rows in (first, second, report))
    own = torch.arange(len(first)) + sum(counts[: dist.get_rank()])
    labels = pair_labels(report, all_report, own, torch.ones(len(first), dtype=torch.bool), duplicates)
    loss = clip_loss(first, second, all_first, all_second, labels, scale)
    loss.backward()
    return loss.detach(), first.grad, second.grad, scale.grad


def local_over_ranks(
    form: str, beats: Tensor, sentences: Tensor, padding: Tensor, report: Tensor, duplicates: str, scale: Tensor, most: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """This rank's part of the local loss over all pairs, and its gradients; ``most`` sentences has a report of any rank."""
    beats, sentences, scale = (value.clone().requires_grad_() for value in (beats, sentences, scale))
    group = dist.group.WORLD
    counts = row_counts(len(beats), beats.device, group)
    more = most - sentences.shape[1]
    rows = (beats, F.pad(sentences, (0, 0, 0, more)), F.pad(padding.long(), (0, more), value=1), report)
    all_beats, all_sentences, all_padding, all_report = (gather_rows(value, counts, group) for value in rows)
    own = torch.arange(len(beats)) + sum(counts[: dist.get_rank()])
    labels = pair_labels(report, all_report, own, torch.ones(len(beats), dtype=torch.bool), duplicates)
    similarity = gloria_similarity if form == "gloria" else functools.partial(beat_similarity, beat_scale=scale)
    loss = local_loss(similarity, beats, sentences, padding, all_beats, all_sentences, all_padding != 0, labels)
    (loss + 0 * scale).backward()
    return loss.detach(), beats.grad, sentences.grad, scale.grad


def sum_unless_asked_to_fail(value: float, fails: bool) -> float:
    """The sum over ranks; a rank that fails leaves the other one waiting for it."""
    if fails:
        raise ValueError("as asked for")
    total = torch.tensor([value])
    dist.all_reduce(total)
    return float(total)
