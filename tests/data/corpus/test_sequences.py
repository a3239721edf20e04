from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.data.corpus.sequences import Packing, Sequences

FIRST, LAST = 2, 3


class Array:
    """An array in memory, read as a mapped one is."""

    def __init__(self, array: np.ndarray):
        self.array = array

    def slice(self, start: int, stop: int) -> np.ndarray:
        return self.array[start:stop].copy()


def table(documents: list[list[int]], seed: int = 0) -> SimpleNamespace:
    """A corpus of so many tokens in each sentence of each document; every token is another one."""
    lengths = [length for document in documents for length in document]
    n, rng = sum(lengths), np.random.default_rng(seed)
    begins = rng.random(n) < 0.5
    begins[np.cumsum([0, *lengths])[:-1][np.array(lengths) > 0]] = True
    return SimpleNamespace(
        ids=Array(np.arange(10, 10 + n, dtype=np.int32)),
        begins_word=Array(begins),
        sentence_offsets=np.cumsum([0, *lengths]),
        document_offsets=np.cumsum([0, *map(len, documents)]),
        info={"first_ids": [FIRST], "last_ids": [LAST]},
    )


def reference(documents: list[list[int]], order: list[int], length: int) -> list[list[int]]:
    """Sentence after sentence, by lists."""
    starts = iter(np.cumsum([0, *(n for document in documents for n in document)]).tolist())
    pieces: list[list[list[int]]] = []
    for document in documents:
        pieces.append([])
        for n in document:
            ids = list(range(10 + (start := next(starts)), 10 + start + n))
            pieces[-1] += [ids[at : at + length - 2] for at in range(0, n, length - 2)]
    found: list[list[int]] = []
    before = None
    for number in order:
        for piece in pieces[number]:
            if before is not None and before == number and len(found[-1]) + len(piece) <= length:
                found[-1][-1:] = [*piece, LAST]
            elif before is not None and before != number and len(found[-1]) + len(piece) + 1 <= length:
                found[-1] += [*piece, LAST]
            else:
                found.append([FIRST, *piece, LAST])
            before = number
    return found


@settings(deadline=None)
@given(
    documents=st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=4), min_size=1, max_size=8),
    length=st.integers(3, 20),
    seed=st.integers(0, 1000),
)
def test_sentences_follow_each_other_until_the_next_does_not_fit(documents, length, seed) -> None:
    order = np.random.default_rng(seed).permutation(len(documents))
    tokens = table(documents, seed)
    sequences = Sequences(Packing(tokens, length), order)
    got = [sequences[number] for number in range(len(sequences))]
    assert [ids.tolist() for ids, _ in got] == reference(documents, order.tolist(), length)
    assert all(len(ids) <= length for ids, _ in got)
    for ids, begins in got:
        special = np.isin(ids, [FIRST, LAST])
        assert begins[special].all() and begins[1:][special[:-1]].all()  # what follows a special token begins a word, too
        inner = np.flatnonzero(~special & ~np.append(True, special[:-1]))
        np.testing.assert_array_equal(begins[inner], tokens.begins_word.array[ids[inner] - 10])


def test_hardly_anything_is_padded() -> None:
    documents = np.random.default_rng(0).integers(3, 12, size=(500, 3)).tolist()
    sequences = Sequences(Packing(table(documents), 256), np.arange(500))
    used = sum(len(sequences[number][0]) for number in range(len(sequences)))
    assert used / (256 * len(sequences)) > 0.95


def test_too_few_tokens_for_a_sequence() -> None:
    with pytest.raises(ValueError, match="2 tokens are too few"):
        Packing(table([[3]]), 2)
