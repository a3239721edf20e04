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

so that four tensors of A × Q × N numbers, N sentences, are kept for the backward pass. For 64 ECGs against 256 reports of up to
16 sentences, with 14 beats, each is 14 MiB in float32; one of A × B × S × E with E = 256 would be 256 MiB. What bounds the time
is the product that makes D and the two of its gradient; to go over the four tensors as rarely as can be, the gradient is
written out (:class:`_Scores`). As x_l does not change with the length of c_l, Σ_q α_lq ∂x_l/∂α_lq = 0, and the softmax over
beats needs none of the sums that a softmax's gradient has otherwise.
"""

from __future__ import annotations

from typing import Any, Callable, Union

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from cmelt_plugin.losses.clip import softmax_loss
from cmelt_plugin.losses.sentence_columns import PackedColumns, PaddedColumns, columns_of

FORMS = ("beat", "gloria")
BEAT_FACTOR = 4.0
"""Factor on a_ql before the softmax over beats (``gloria``)."""
SENTENCE_FACTOR, LOGIT_FACTOR = 5.0, 10.0
"""Factors inside and outside of the logarithm that joins the sentences."""
_SHORTEST = 1e-8  # of a vector, where its length is divided by

Similarity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Beats ``[A, Q, E]``, sentences ``[B, S, E]`` and their padding ``[B, S]`` → logits ``[A, B]``."""

_Columns = Union[PackedColumns, PaddedColumns]


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
        columns = columns_of(sentence_padding_mask)
        return LOGIT_FACTOR * _scores(_wide(beats), columns.of(_wide(sentences)), None, columns)


def beat_similarity(beats: Tensor, sentences: Tensor, sentence_padding_mask: Tensor, beat_scale: Tensor | float) -> Tensor:
    """Z of the form ``beat``, between −50 and 50 however many sentences there are; arguments as :func:`gloria_similarity`.

    Args:
        beat_scale: τ, the inverse temperature of the softmax over beats.
    """
    with torch.autocast(beats.device.type, enabled=False):
        columns, beats = columns_of(sentence_padding_mask), _unit(beats)
        scale = torch.as_tensor(beat_scale, dtype=beats.dtype, device=beats.device)
        scores = _scores(beats, _unit(columns.of(sentences)), scale, columns)
        n_sentences = (~sentence_padding_mask).sum(dim=1)
        return LOGIT_FACTOR * (scores - n_sentences.to(scores.dtype).log())


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
        columns, scaled = columns_of(sentence_padding_mask), _unit if form == "beat" else _wide
        products = columns.take(torch.einsum("bqe,bse->qbs", scaled(beats), scaled(sentences)))
        heights = beat_scale * products if form == "beat" else BEAT_FACTOR * columns.softmax(products)
        return columns.lay_out(heights.softmax(dim=0)).permute(1, 2, 0)


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


def _scores(beats: Tensor, vectors: Tensor, scale: Tensor | None, columns: _Columns) -> Tensor:
    return columns.reports(_Scores.apply(beats, vectors, scale, columns))  # type: ignore[no-untyped-call]


class _Scores(torch.autograd.Function):
    """log Σ_l exp(5 x_l) over the sentences of each report, ``[A, B]``.

    Takes beats ``[A, Q, E]``, sentences ``[N, E]`` as columns, τ (``beat``; None: ``gloria``) and the columns.
    """

    @staticmethod
    def forward(ctx: Any, beats: Tensor, vectors: Tensor, scale: Tensor | None, columns: _Columns) -> Tensor:
        products = (beats.flatten(0, 1) @ vectors.T).view(*beats.shape[:2], -1)  # D, [A, Q, N]
        share = products if scale is not None else columns.softmax(products)
        weights = ((BEAT_FACTOR if scale is None else scale) * share).softmax(dim=1)  # α
        own = beats @ beats.transpose(1, 2) @ weights  # K α
        square = (weights * own).sum(dim=1).clamp_(min=_SHORTEST**2)  # |c|², [A, N]
        length = vectors.norm(dim=-1).clamp_(min=_SHORTEST)
        inverse = 1 / (square.sqrt() * length)
        cosine = (weights * products).sum(dim=1) * inverse
        powers = (SENTENCE_FACTOR * cosine).exp_()  # at most e⁵
        total = columns.total(powers)
        ctx.save_for_backward(
            beats, vectors, scale, products, share, weights, own, square, length, inverse, cosine, powers, total
        )
        ctx.columns = columns
        return total.log()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        beats, vectors, scale, products, share, weights, own, square, length, inverse, cosine, powers, total = ctx.saved_tensors
        columns: _Columns = ctx.columns
        with torch.autocast(beats.device.type, enabled=False):
            d_cosine = columns.times(powers, SENTENCE_FACTOR * gradient / total)
            d_square = (-d_cosine * cosine / square).masked_fill_(square <= _SHORTEST**2, 0.0)  # twice it
            d_numerator = (d_cosine * inverse)[:, None]
            d_length = -(d_cosine * cosine).sum(dim=0) / length

            d_heights = (d_numerator * products).addcmul_(d_square[:, None], own).mul_(weights)
            d_products = weights * d_numerator
            d_scale = None
            if scale is not None:
                d_products += scale * d_heights
                d_scale = (d_heights * products).sum()
            else:
                d_share = d_heights.mul_(share)
                d_products += BEAT_FACTOR * (d_share - columns.times(share, columns.total(d_share)))
            flat = d_products.flatten(0, 1)
            d_own = (weights * d_square[:, None]) @ weights.transpose(1, 2)
            d_beats = (flat @ vectors).view_as(beats).baddbmm_(d_own, beats)
            d_vectors = (flat.T @ beats.flatten(0, 1)).addcmul_(vectors, (d_length / length)[:, None])
        return d_beats, d_vectors, d_scale, None


def _wide(vectors: Tensor) -> Tensor:
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(_wide(vectors), dim=-1)
