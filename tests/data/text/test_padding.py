"""Cutting and padding texts."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import EOS, PAD, token_table

from cmelt_plugin.data.text.padding import cut, pad, padded_spans, padded_texts
from cmelt_plugin.data.text.statement_spans import StatementTable


@pytest.mark.parametrize(("ids", "limit", "expected"), [([5, 6, 7, 1], 3, [5, 6, 1]), ([5, 1], 2, [5, 1]), ([5, 6, 1], 1, [1])])
def test_a_text_that_is_cut_keeps_its_last_token(ids: list[int], limit: int, expected: list[int]) -> None:
    assert cut(ids, limit).tolist() == expected


def test_texts_are_padded_at_the_end_to_the_longest_after_cutting() -> None:
    ids, padding = pad([[5, 6, 7, 1], [], [8, 1]], pad_id=9, max_tokens=3)
    assert ids.tolist() == [[5, 6, 1], [9, 9, 9], [8, 1, 9]] and ids.dtype == np.int64
    assert padding.tolist() == [[False] * 3, [True] * 3, [False, False, True]]


def test_there_is_always_a_column() -> None:
    assert [array.shape for array in pad([[], []], 0)] == [(2, 1), (2, 1)]
    assert [array.shape for array in pad([], 0)] == [(0, 1), (0, 1)]


def test_texts_of_a_table_come_by_their_numbers() -> None:
    ids, padding = padded_texts(token_table([[5, 6], [7]]), np.array([1, 0, 1]), 16)
    assert ids.tolist() == [[7, EOS, PAD], [5, 6, EOS], [7, EOS, PAD]]
    assert padding.sum(axis=1).tolist() == [1, 0, 1]


def test_statements_are_cut_and_padded_as_their_texts_are():
    statements = StatementTable.of_rows([np.array([[0, 2], [2, 3]]), np.array([[0, 1]]), np.array([[0, 1], [1, 1], [1, 3]])])
    table = token_table([[5, 6, 7], [8], [9, 10, 11]], statements=statements)
    index = np.array([2, 1, 0])
    ids, _ = padded_texts(table, index, 3)
    spans, padding = padded_spans(table, index, 3)
    assert spans.tolist() == [[[0, 1], [1, 2]], [[0, 1], [0, 0]], [[0, 2], [0, 0]]] and spans.dtype == np.int64
    assert padding.tolist() == [[False, False], [False, True], [False, True]] and padding.dtype == bool
    assert [[row[a:b].tolist() for a, b in part] for row, part in zip(ids, spans)] == [[[9], [10]], [[8], []], [[5, 6], []]]
    assert [array.shape for array in padded_spans(table, np.array([], dtype=np.int64), 3)] == [(0, 1, 2), (0, 1)]
