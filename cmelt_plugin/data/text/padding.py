"""Texts of different lengths as one array of token ids, and their statements: cut, then padded at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

import numpy as np

from cmelt_plugin.data.text.tokens import TokenTable

MAX_TEXT_TOKENS = 256  # of models whose files do not say

Ids = Union[np.ndarray, Sequence[int]]


def cut(ids: Ids, max_tokens: int) -> np.ndarray:
    """Ids of one text, at most ``max_tokens``; a text that is cut keeps its last token (T5's ``</s>``, BERT's ``[SEP]``)."""
    ids = np.asarray(ids)
    return ids if len(ids) <= max_tokens else np.append(ids[: max_tokens - 1], ids[-1])


def pad(texts: Sequence[Ids], pad_id: int, max_tokens: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Texts as one array, as long as the longest of them.

    Args:
        texts: ids of B texts.
        pad_id: id that fills up shorter texts.
        max_tokens: longer texts are cut by :func:`cut`; None: none is.

    Returns:
        Ids int64 ``[B, L]`` and padding bool ``[B, L]``, True = padding; L is at least 1.
    """
    rows = [np.asarray(text) if max_tokens is None else cut(text, max_tokens) for text in texts]
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    padding = np.arange(lengths.max(initial=1))[None, :] >= lengths[:, None]
    ids = np.full(padding.shape, pad_id, dtype=np.int64)
    if rows:
        ids[~padding] = np.concatenate(rows)
    return ids, padding


def padded_texts(table: TokenTable, index: np.ndarray, max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """:func:`pad` for the texts ``index [B]`` of a table."""
    return pad([table[int(text)] for text in index], table.info["pad_id"], max_tokens)


def padded_spans(table: TokenTable, index: np.ndarray, max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the statements of the texts ``index [B]`` of a table lie in what :func:`padded_texts` gives.

    Returns:
        Spans int64 ``[B, S, 2]``, first token and end, in order, at least one in each text; and which are padding (0 to 0),
        bool ``[B, S]``, True = padding. Statements that lost all their tokens to the cut are left out.
    """
    return pad_spans([table.spans(int(text), max_tokens) for text in index])


def pad_spans(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Spans int ``[S, 2]`` of each of B texts as one array ``[B, S, 2]``, and which are padding; see :func:`padded_spans`."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    padding = np.arange(lengths.max(initial=1))[None, :] >= lengths[:, None]
    spans = np.zeros((*padding.shape, 2), dtype=np.int64)
    if rows:
        spans[~padding] = np.concatenate(rows)
    return spans, padding
