"""The local loss of MELP (Wang, Xu, Yu 2025, arXiv 2506.21803): the beats of an ECG against the sentences of a report.

"Beats" are what an attention pooler's learned queries gather of an ECG: v₁ … v_Q. A report has sentence vectors s₁ … s_S. Of
every ECG and every report, sentence l looks at the beats with weights α_lq, sees c_l = Σ_q α_lq v_q, and the pair scores by
how well the sentences find themselves, x_l = cos(c_l, s_l). Two forms:

``gloria`` (the release; Huang et al. 2021, GLoRIA)
    a_ql = softmax over *sentences* of ⟨v_q, s_l⟩;  α_lq = softmax over beats of 4 a_ql;  Z = 10 log Σ_l exp(5 x_l).

``beat`` (ours)
    v and s of unit length;  α_lq = softmax over beats of τ ⟨v_q, s_l⟩, τ learned;  Z = 10 log (1/S) Σ_l exp(5 x_l).

In ``gloria`` a report of one sentence looks at all beats alike, as its softmax over sentences is 1; no beat weighs more than e⁴
times another; the sum over sentences adds 10 log S to long reports; and products depend on lengths of vectors.

Nothing of the size of A ECGs × B reports × S sentences × E numbers is made. With D_ql = ⟨v_q, s_l⟩ and K_qp = ⟨v_q, v_p⟩, the
beats' own products ``[A, Q, Q]``::

    ⟨c_l, s_l⟩ = Σ_q α_lq D_ql        |c_l|² = Σ_q α_lq (K α_l)_q

so that a few tensors ``[A, Q, S · B]`` are kept for the backward pass, and two matrix products make them. For 64 ECGs against
256 reports of up to 16 sentences, with 14 beats, each is 14 MiB in float32; one of A × B × S × E with E = 256 would be 256 MiB.
Reports come last because softmaxes over a last dimension as short as Q or S are slow on a CPU, where padding is left out, too.
"""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from cmelt_plugin.losses.clip import softmax_loss

FORMS = ("beat", "gloria")
BEAT_FACTOR = 4.0
"""Factor on a_ql before the softmax over beats (``gloria``)."""
SENTENCE_FACTOR, LOGIT_FACTOR = 5.0, 10.0
"""Factors inside and outside of the logarithm that joins the sentences."""
_SHORTEST = 1e-8  # of a vector, where its length is divided by

PACKING_DEVICES = ("cpu",)
"""Where the real sentences alone are computed; elsewhere the CPU would wait to be told how many there are."""

Similarity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Beats ``[A, Q, E]``, sentences ``[B, S, E]`` and their padding ``[B, S]`` → logits ``[A, B]``."""


def gloria_similarity(beats: Tensor, sentences: Tensor, sentence_padding_mask: Tensor) -> Tensor:
    """Z of the release for every ECG and every report.

    Args:
        beats: ``[A, Q, E]``, of any length.
        sentences: ``[B, S, E]``, of any length; what stands under padding does not matter, if it is finite.
        sentence_padding_mask: ``[B, S]`` bool, True = padding; every report has a sentence.

    Returns:
        ``[A, B]`` in float32 (or wider), also for half precision and under autocast.
    """
    with torch.autocast(beats.device.type, enabled=False):
        columns = _Columns(sentence_padding_mask)
        beats, vectors = _wide(beats), columns.of(_wide(sentences))
        products = _products(beats, vectors)
        cosine = _cosine(beats, products, _gloria_weights(products, columns))
        return LOGIT_FACTOR * _log_sum(cosine / vectors.norm(dim=-1).clamp(min=_SHORTEST), columns)


def beat_similarity(beats: Tensor, sentences: Tensor, sentence_padding_mask: Tensor, beat_scale: Tensor | float) -> Tensor:
    """Z of the form ``beat``, between −50 and 50 however many sentences there are; arguments as :func:`gloria_similarity`.

    Args:
        beat_scale: τ, the inverse temperature of the softmax over beats.
    """
    with torch.autocast(beats.device.type, enabled=False):
        columns = _Columns(sentence_padding_mask)
        beats, vectors = _unit(beats), _unit(columns.of(sentences))
        products = _products(beats, vectors)
        cosine = _cosine(beats, products, _beat_weights(products, beat_scale))
        n_sentences = (~sentence_padding_mask).sum(dim=1)
        return LOGIT_FACTOR * (_log_sum(cosine, columns) - n_sentences.to(cosine.dtype).log())


def sentence_attention(
    form: str, beats: Tensor, sentences: Tensor, sentence_padding_mask: Tensor, beat_scale: Tensor | float = 1.0
) -> Tensor:
    """α: at which beats each sentence of a report looks in the ECG beside it.

    Args:
        form: one of :data:`FORMS`.
        beats: ``[B, Q, E]``.
        sentences: ``[B, S, E]``.
        sentence_padding_mask: ``[B, S]`` bool, True = padding.
        beat_scale: as in :func:`beat_similarity`; ``gloria`` has none.

    Returns:
        ``[B, S, Q]``; the weights of a sentence add up to 1, those of padding are 0.

    Raises:
        ValueError: another ``form``.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, not {form!r}")
    with torch.autocast(beats.device.type, enabled=False):
        columns, scaled = _Columns(sentence_padding_mask), _unit if form == "beat" else _wide
        products = columns.take(torch.einsum("bqe,bse->qsb", scaled(beats), scaled(sentences)))[None]
        weights = _beat_weights(products, beat_scale) if form == "beat" else _gloria_weights(products, columns)
        return columns.lay_out(weights[0], 0.0).permute(2, 1, 0)


def local_loss(
    similarity: Similarity,
    beats: Tensor,
    sentences: Tensor,
    sentence_padding_mask: Tensor,
    all_beats: Tensor,
    all_sentences: Tensor,
    all_padding: Tensor,
    labels: Tensor,
) -> Tensor:
    """Mean of the two directions, ECG → report and report → ECG, Σ over the pairs of this rank; nats.

    Its sum over ranks is the loss of one process. The release compares with the pairs of one rank alone.

    Args:
        similarity: :func:`gloria_similarity`, or :func:`beat_similarity` of some scale.
        beats: ``[B, Q, E]`` of this rank's ECGs.
        sentences, sentence_padding_mask: ``[B, S, E]`` and bool ``[B, S]`` (True = padding) of this rank's reports.
        all_beats, all_sentences, all_padding: those of M pairs, of all ranks, with gradient; in a single process the same
            tensors, and similarities are then computed once. S may differ from that of this rank.
        labels: ``[B, M]`` from :func:`cmelt_plugin.losses.pairs.pair_labels`, of this rank's pairs against all.
    """
    rows = similarity(beats, all_sentences, all_padding)
    single = all_beats is beats and all_sentences is sentences
    columns = rows if single else similarity(all_beats, sentences, sentence_padding_mask)
    return (softmax_loss(rows, labels) + softmax_loss(columns.T, labels)) / 2


class _Columns:
    """Sentences of all reports as N columns, or laid out by report.

    Args:
        padding: ``[B, S]`` bool, True = padding.
    """

    def __init__(self, padding: Tensor):
        self.padding = padding.T
        packing = padding.device.type in PACKING_DEVICES
        self.real = (~self.padding).flatten().nonzero()[:, 0] if packing else None

    def of(self, sentences: Tensor) -> Tensor:
        """``[B, S, E]`` → ``[N, E]``."""
        rows = sentences.transpose(0, 1).flatten(0, 1)
        return rows if self.real is None else rows.index_select(0, self.real)

    def take(self, values: Tensor) -> Tensor:
        """``[…, S, B]`` → ``[…, N]``."""
        values = values.flatten(-2)
        return values if self.real is None else values.index_select(-1, self.real)

    def lay_out(self, values: Tensor, filler: float) -> Tensor:
        """``[…, N]`` → ``[…, S, B]``, with ``filler`` at padding."""
        shape = (*values.shape[:-1], *self.padding.shape)
        if self.real is None:
            return values.view(shape).masked_fill(self.padding, filler)
        empty = values.new_full((*values.shape[:-1], self.padding.numel()), filler)
        return empty.index_copy(-1, self.real, values).view(shape)


def _wide(vectors: Tensor) -> Tensor:
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(_wide(vectors), dim=-1)


def _products(beats: Tensor, vectors: Tensor) -> Tensor:
    """⟨v_q, s_l⟩ of every ECG and N sentences, ``[A, Q, N]``."""
    return (beats.flatten(0, 1) @ vectors.T).view(*beats.shape[:2], -1)


def _gloria_weights(products: Tensor, columns: _Columns) -> Tensor:
    """``[A, Q, N]`` → the same shape, adding up to 1 over Q."""
    share = columns.lay_out(products, torch.finfo(products.dtype).min).softmax(dim=-2)
    return (BEAT_FACTOR * columns.take(share)).softmax(dim=1)


def _beat_weights(products: Tensor, beat_scale: Tensor | float) -> Tensor:
    return (beat_scale * products).softmax(dim=1)


def _cosine(beats: Tensor, products: Tensor, weights: Tensor) -> Tensor:
    """⟨c_l, s_l⟩ / |c_l|, ``[A, N]``: the cosine, if the sentences are of unit length."""
    own = beats @ beats.transpose(1, 2)
    length = (weights * (own @ weights)).sum(dim=1).clamp(min=_SHORTEST**2).sqrt()
    return (weights * products).sum(dim=1) / length


def _log_sum(cosine: Tensor, columns: _Columns) -> Tensor:
    """log Σ over real sentences of exp(5 x): ``[A, N]`` → ``[A, B]``."""
    return columns.lay_out(SENTENCE_FACTOR * cosine, float("-inf")).logsumexp(dim=1)
