"""A stand-in for MELP that gives the criterion what it reads, and a training step with it, here or in one of two processes."""

from __future__ import annotations

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmelt_plugin.losses.mlm import IGNORED
from cmelt_plugin.models.melp import criterion as melp

WIDTH, BEATS, VOCAB, NUMBERS = 6, 3, 11, 5
CRITERIONS = {
    "melp": melp.MELPCriterion,
    "melp_clip": melp.MELPClipCriterion,
    "melp_caption": melp.MELPCaptionCriterion,
    "melp_local": melp.MELPLocalCriterion,
}


class Stub(nn.Module):
    """Linear layers alone; an "ECG" is a few numbers."""

    def __init__(self, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.ecg = nn.Parameter(torch.randn(NUMBERS, BEATS * WIDTH, generator=generator))
        self.tokens = nn.Parameter(torch.randn(VOCAB, WIDTH, generator=generator))
        self.log_scales = nn.Parameter(torch.tensor([1.5, 2.0]))

    def forward(
        self,
        ecg: Tensor,
        text: Tensor,
        text_padding_mask: Tensor,
        sentence_spans: Tensor,
        sentence_padding_mask: Tensor,
        objectives: Collection[str],
        hidden_share: float = 0.0,
    ) -> dict[str, Any]:
        beats, states = (ecg @ self.ecg).view(-1, BEATS, WIDTH), self.tokens[text]
        logit_scale, beat_scale = self.log_scales.exp()
        out: dict[str, Any] = {}
        if "clip" in objectives:
            real = ~text_padding_mask[..., None]
            out["ecg_embedding"] = F.normalize(beats.mean(1), dim=-1)
            out["text_embedding"] = F.normalize((states * real).sum(1), dim=-1)
            out["logit_scale"] = logit_scale
        if "local" in objectives:
            place = torch.arange(text.shape[1])
            start, stop = sentence_spans.unbind(-1)
            member = ((place >= start[..., None]) & (place < stop[..., None])).float()
            out["sentences"] = member @ states
            out["beats"], out["sentence_padding_mask"], out["beat_scale"] = beats, sentence_padding_mask, beat_scale
        if "caption" in objectives:
            out["caption_logits"] = (states[:, :-1] + beats.mean(1, keepdim=True)) @ self.tokens.T
            out["caption_labels"] = text[:, 1:].masked_fill(text_padding_mask[:, 1:], IGNORED)
        return out


def sample(reports: list[int], sentences: list[int], seed: int = 0, most: int = 5, length: int | None = None) -> dict[str, Any]:
    """A mini-batch of reports with so many sentences of two tokens each; equal report ids are equal texts."""
    longest = max(sentences)
    length = 2 * longest if length is None else length
    words = torch.stack([torch.arange(length) * (report + 2) + report for report in reports]) % VOCAB
    counts = torch.tensor(sentences)
    starts = torch.arange(longest) * 2
    padding = torch.arange(longest) >= counts[:, None]
    spans = torch.stack([starts, starts + 2], dim=-1).expand(len(reports), -1, -1)
    return {
        "id": torch.arange(len(reports)),
        "report_id": torch.tensor(reports),
        "ntokens": 2 * sum(sentences),
        "max_sentences": most,
        "net_input": {
            "ecg": torch.randn(len(reports), NUMBERS, generator=torch.Generator().manual_seed(seed)),
            "text": words,
            "text_padding_mask": torch.arange(length) >= 2 * counts[:, None],
            "sentence_spans": spans.masked_fill(padding[..., None], 0),
            "sentence_padding_mask": padding,
        },
    }


def criterion(name: str = "melp", batch_size: int | None = None, **options: Any) -> Any:
    """In training mode; ``batch_size``: the largest of all ranks, as tasks know it."""
    task = SimpleNamespace(target_dictionary=None, training_batch_size=batch_size)
    return CRITERIONS[name](melp.MELPCriterionConfig(**options), task).train()


def step(batch: dict[str, Any], name: str = "melp", batch_size: int | None = None, **options: Any) -> dict[str, Any]:
    """Loss, rows, log and gradients; the gradient of a repeated batch is thrown away, as the hosts do."""
    model = Stub().train()
    loss, rows, log = criterion(name, batch_size, **options)(model, batch)
    counts = 0.0 if batch.get("ignore_grad") else 1.0
    (loss * counts).backward()
    gradients = {key: value.grad for key, value in model.named_parameters() if value.grad is not None}
    return {"loss": loss.detach() * counts, "rows": rows * counts, "log": log, "gradients": gradients}


def rank_step(batch: dict[str, Any], batch_size: int | None, options: dict[str, Any]) -> dict[str, Any]:
    """:func:`step`, for processes that take positional arguments alone."""
    return step(batch, batch_size=batch_size, **options)
