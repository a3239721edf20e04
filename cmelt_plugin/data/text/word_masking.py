"""Masked language modelling on batches of token ids (Devlin et al. 2019), token by token or in whole words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

IGNORED_SPECIALS_KEY = 2.0  # larger than any uniform number: never among the smallest


class MaskedText(NamedTuple):
    """A masked batch.

    Attributes:
        ids: int64 ``[B, L]`` with chosen words replaced.
        mask: bool ``[B, L]``, True = chosen, also where the word was left as it is.
        target: int64 ``[chosen]``, the original words in row-major order of ``mask``.
    """

    ids: np.ndarray
    mask: np.ndarray
    target: np.ndarray


class WordMasker:
    """Chooses ``probability`` of the ordinary tokens of each text: 80 % become the mask token, 10 % a random word, 10 %
    stay. Special and padding tokens are never chosen; a text with at least one ordinary token has at least one chosen.

    Args:
        probability: share of ordinary tokens chosen (the released code: 0.25).
        mask_id: the mask token (``<extra_id_0>`` for T5).
        vocab_size: size of the vocabulary random words are drawn from.
        special_ids: ids never chosen and never drawn.
    """

    def __init__(self, probability: float, mask_id: int, vocab_size: int, special_ids: Sequence[int]):
        if not 0 <= probability <= 1:
            raise ValueError(f"MLM probability must be in [0, 1], not {probability}")
        self.probability = probability
        self.mask_id = mask_id
        self.is_special = np.zeros(vocab_size, dtype=bool)
        self.is_special[np.asarray(special_ids, dtype=np.int64)] = True
        self.ordinary_ids = np.flatnonzero(~self.is_special)

    def __call__(
        self, ids: np.ndarray, padding: np.ndarray, uniforms: np.ndarray, begins_word: np.ndarray | None = None
    ) -> MaskedText:
        """
        Args:
            ids: int ``[B, L]``.
            padding: bool ``[B, L]``, True = padding.
            uniforms: float ``[3, B, L]`` in [0, 1): which tokens, what happens to them, which random word.
            begins_word: bool ``[B, L]``, True = the first token of a word, and at special tokens and padding. Words are then
                chosen whole, ``probability`` of them; what happens is drawn for each of their tokens. None: tokens are chosen.
        """
        choice, action, word = uniforms
        eligible = ~padding & ~self.is_special[ids]
        if begins_word is None:
            mask = self._chosen(choice, eligible)
        else:
            chosen = self._chosen(choice, eligible & begins_word)
            first = np.maximum.accumulate(np.where(begins_word, np.arange(ids.shape[1]), 0), axis=1)
            mask = np.take_along_axis(chosen, first, axis=1) & eligible
        random_words = self.ordinary_ids[(word * len(self.ordinary_ids)).astype(np.int64)]
        replacement = np.where(action < 0.8, self.mask_id, np.where(action < 0.9, random_words, ids))
        return MaskedText(np.where(mask, replacement, ids).astype(np.int64), mask, ids[mask].astype(np.int64))

    def _chosen(self, choice: np.ndarray, eligible: np.ndarray) -> np.ndarray:
        """Of the eligible places of each row those with the smallest numbers, as many as are wanted: bool ``[B, L]``."""
        n_eligible = eligible.sum(axis=1)
        wanted = np.rint(n_eligible * self.probability).astype(np.int64)
        if self.probability > 0:
            wanted = np.where(n_eligible > 0, np.maximum(wanted, 1), 0)
        rank = np.where(eligible, choice, IGNORED_SPECIALS_KEY).argsort(axis=1, kind="stable").argsort(axis=1)
        return rank < wanted[:, None]
