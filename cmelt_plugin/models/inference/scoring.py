"""From token ids to embeddings, and from embeddings to scores: the one way for commands, validation and single recordings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.data.text.padding import Ids, pad
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.base import COSINE, Embedding, concatenate

TEXT_BATCH = 256
SCORE_ROWS = 1024  # rows of a matrix of scores computed at once


def choose_score(model: Any, score: str, source: str) -> None:
    """Let ``model``, opened from ``source``, compare ECG and text by that score from now on.

    Raises:
        DataError: it does not know this one, or compares in one way alone.
    """
    if not hasattr(model, "choose_score"):
        raise DataError(f"{source}: score {score!r} cannot be chosen, the model compares in one way alone or reads no texts")
    model.choose_score(score)


def score_settings(model: Any) -> dict[str, str]:
    """``score``, how the model compares ECG and text, as results record it; empty where it has no choice."""
    return {"score": model.score} if hasattr(model, "score") else {}


def other_score(model: Any) -> dict[str, str]:
    """:func:`score_settings` where it is not the cosine: what decides embeddings beside the weights."""
    return {name: score for name, score in score_settings(model).items() if score != COSINE}


def on_host(embedding: Embedding) -> Embedding:
    """The embedding in float32 on the CPU."""
    mean, log_variance = embedding
    return Embedding(mean.float().cpu(), None if log_variance is None else log_variance.float().cpu())


@torch.no_grad()
def embed_texts(
    model: Any, texts: Sequence[Ids], pad_id: int, device: str | torch.device = "cpu", max_tokens: int | None = None
) -> Embedding:
    """Texts through the text encoder.

    Args:
        model: an :class:`~cmelt_plugin.models.base.ECGTextModel` on ``device``, in eval mode.
        texts: token ids of B texts.
        pad_id: id that fills up shorter texts.
        device: of the model.
        max_tokens: longer texts are cut (:func:`cmelt_plugin.data.text.padding.cut`); None: none is.

    Returns:
        B embeddings, float32, on the CPU.
    """
    parts = []
    for start in range(0, max(len(texts), 1), TEXT_BATCH):
        # Of no texts the encoder still says how wide an embedding is.
        batch = texts[start : start + TEXT_BATCH] if len(texts) else [[pad_id]]
        ids, padding = (torch.from_numpy(array).to(device) for array in pad(batch, pad_id, max_tokens))
        parts.append(on_host(model.embed_text(ids, padding)))
    return concatenate(parts).select(slice(len(texts)))


def embed_classes(
    model: Any,
    texts: Sequence[Ids],
    class_index: np.ndarray,
    n_classes: int,
    pad_id: int,
    device: str | torch.device = "cpu",
    max_tokens: int | None = None,
) -> Embedding:
    """One embedding per class: the model's ensemble of the class's texts.

    Args:
        model, texts, pad_id, device, max_tokens: as :func:`embed_texts`.
        class_index: ``[B]``, the class each text describes.
        n_classes: C.

    Returns:
        C embeddings, float32, on the CPU.

    Raises:
        ValueError: a class has no text.
    """
    group = torch.from_numpy(np.asarray(class_index, dtype=np.int64))
    empty = torch.nonzero(torch.bincount(group, minlength=n_classes) == 0).flatten().tolist()
    if empty:
        raise ValueError(f"classes without a text: {empty}")
    return on_host(model.ensemble(embed_texts(model, texts, pad_id, device, max_tokens), group, n_classes))


@torch.no_grad()
def similarity_rows(model: Any, a: Embedding, b: Embedding, device: str | torch.device | None = None) -> Iterator[Tensor]:
    """:meth:`~cmelt_plugin.models.base.ECGTextModel.similarity` of A embeddings with B others, some rows at a time.

    Args:
        model: the model whose embeddings they are.
        a, b: embeddings.
        device: where scores are made; None: where ``a`` is.

    Yields:
        ``[rows, B]`` each, A rows together, on ``device``.
    """
    device = a.mean.device if device is None else torch.device(device)
    b = b.to(device)
    for start in range(0, a.rows, SCORE_ROWS):
        yield model.similarity(a.select(slice(start, start + SCORE_ROWS)).to(device), b)


def similarities(model: Any, a: Embedding, b: Embedding, device: str | torch.device | None = None) -> Tensor:
    """The scores ``[A, B]`` of :func:`similarity_rows`, where ``a`` is."""
    rows = [scores.to(a.mean.device) for scores in similarity_rows(model, a, b, device)]
    return torch.cat(rows) if rows else a.mean.new_zeros(0, b.rows)
