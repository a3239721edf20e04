"""The local loss of the release, form ``gloria`` of :mod:`cmelt_plugin.losses.beats`: one report after the other against all
ECGs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from cmelt_plugin.losses.beats import BEAT_FACTOR, LOGIT_FACTOR, SENTENCE_FACTOR


def sentence_means(states: Tensor, ids: Tensor, spans: Tensor, padding_mask: Tensor, pad: int) -> list[Tensor]:
    """Mean state of each sentence, sentence by sentence: B tensors ``[S_i, D]``.

    Args:
        states: ``[B, L, D]`` of the tokens.
        ids: ``[B, L]``.
        spans: int64 ``[B, S, 2]``, first token and end of each sentence.
        padding_mask: ``[B, S]``, True = no sentence.
        pad: the id that is no word.
    """
    texts = []
    for row in range(len(states)):
        sentences = []
        for first, end in spans[row, ~padding_mask[row]].tolist():
            word = ids[row, first:end] != pad
            if word.sum() < 1:
                continue
            sentences.append(states[row, first:end][word].mean(dim=0))
        texts.append(torch.stack(sentences))
    return texts


def gloria_similarity(beats: Tensor, texts: Sequence[Tensor]) -> Tensor:
    """Beats of A ECGs ``[A, Q, E]``, sentences of B reports, each ``[S_i, E]`` → logits ``[A, B]``."""
    columns = []
    for sentences in texts:
        words = sentences.unsqueeze(0).repeat(len(beats), 1, 1)  # [A, S, E]
        share = F.softmax(beats @ words.transpose(1, 2), dim=-1)  # [A, Q, S], over sentences
        weights = F.softmax(BEAT_FACTOR * share.transpose(1, 2).contiguous(), dim=-1)  # [A, S, Q], over beats
        looked_at = weights @ beats  # [A, S, E]
        length = (words.norm(dim=-1) * looked_at.norm(dim=-1)).clamp(min=1e-8)
        cosine = (words * looked_at).sum(dim=-1) / length
        columns.append((SENTENCE_FACTOR * cosine).exp().sum(dim=1, keepdim=True).log())
    return LOGIT_FACTOR * torch.cat(columns, dim=1)


def local_loss(beats: Tensor, texts: Sequence[Tensor]) -> Tensor:
    """Mean of the two directions, each a mean over the pairs of the batch."""
    logits = gloria_similarity(beats, texts)
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.transpose(0, 1), own)) / 2
