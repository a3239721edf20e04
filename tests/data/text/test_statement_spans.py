"""Places of statements among token ids: with tokenizers as they are, after cutting, and stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_texts import make_reports, write_wordpiece

from cmelt_plugin.data.text.padding import cut
from cmelt_plugin.data.text.statement_spans import StatementTable, cut_spans, token_spans
from cmelt_plugin.data.text.tokenizer import encode, encode_statements, load_tokenizer
from cmelt_plugin.errors import DataError
from preprocess.text.t5_folder import train_sentencepiece, write_tokenizer

WORDS = [*"sinus rhythm normal ecg left bundle branch block axis t wave of uncertain age".split(), "0.2", "2:1", "qt"]
UNKNOWN = ["日本", "☃"]  # to both tokenizers
KNOWN = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join), min_size=1, max_size=5)
ANY = st.lists(st.lists(st.sampled_from([*WORDS, *UNKNOWN]), min_size=1, max_size=4).map(" ".join), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory) -> list:
    """A sentencepiece and a WordPiece tokenizer, BERT's."""
    texts = [*make_reports(300), *WORDS, "0 . 2 : 1"]
    folder: Path = tmp_path_factory.mktemp("t5")
    write_tokenizer(folder, train_sentencepiece(texts, 200))
    return [load_tokenizer(str(folder)), load_tokenizer(str(write_wordpiece(tmp_path_factory.mktemp("bert"), texts)))]


@settings(deadline=None, max_examples=60)
@given(statements=KNOWN)
def test_tokens_of_a_span_are_the_statement(tokenizers, statements) -> None:
    for tokenizer in tokenizers:
        (ids,), (spans,), n_cut = encode_statements(tokenizer, [statements], 256)
        assert [ids] == encode(tokenizer, [" ".join(statements)], 256)[0] and n_cut == 0
        texts = [tokenizer.decode(ids[start:stop]).replace(" ", "") for start, stop in spans]
        assert texts == [statement.replace(" ", "") for statement in statements]


@settings(deadline=None, max_examples=60)
@given(statements=ANY, most=st.integers(3, 20), limit=st.integers(3, 20))
def test_spans_are_in_order_and_cover_every_token_but_the_special_ones(tokenizers, statements, most, limit) -> None:
    for tokenizer in tokenizers:
        (ids,), (spans,), n_cut = encode_statements(tokenizer, [statements], most)
        assert [ids] == encode(tokenizer, [" ".join(statements)], most)[0] and len(ids) <= most
        assert n_cut == (len(tokenizer(" ".join(statements))["input_ids"]) > most)
        assert spans.shape == (len(statements), 2) and spans.dtype == np.int32
        special = {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.eos_token_id}
        for found, row in ((spans, ids), (cut_spans(spans, len(ids), limit), cut(ids, limit).tolist())):
            assert (found[:, 0] <= found[:, 1]).all() and (found[1:, 0] >= found[:-1, 1]).all()
            covered = [token for start, stop in found for token in row[start:stop]]
            assert covered == [token for token in row if token not in special]
        assert (np.diff(cut_spans(spans, len(ids), limit)) > 0).all()


def test_a_token_goes_with_its_last_character_and_a_blank_with_what_follows() -> None:
    #                 a b   c d     with a token for "b c", as some tokenizers make them, and one for the blank before "d"
    offsets, special = [(0, 0), (0, 1), (2, 5), (5, 6), (6, 7), (0, 0)], [1, 0, 0, 0, 0, 1]
    assert token_spans(offsets, special, ["a b", "c", "d"]).tolist() == [[1, 2], [2, 3], [3, 5]]


def test_statements_without_a_token() -> None:
    assert token_spans([(0, 1), (4, 5), (0, 0)], [0, 0, 1], ["a", "b", "c"]).tolist() == [[0, 1], [1, 1], [1, 2]]
    assert token_spans([(0, 1), (0, 0)], [0, 1], ["a", "b"]).tolist() == [[0, 1], [1, 1]]
    nothing = token_spans([(0, 0), (0, 0)], [1, 1], ["a", "b"])
    assert nothing.tolist() == [[0, 2], [2, 2]]
    assert cut_spans(nothing, 2, 2).tolist() == [[0, 2]] and token_spans([], [], ["a"]).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("spans", "length", "limit", "kept"),
    [
        ([[0, 3], [3, 7]], 8, 8, [[0, 3], [3, 7]]),
        ([[0, 3], [3, 7]], 8, 5, [[0, 3], [3, 4]]),  # the last token, a special one, moves to place 4
        ([[0, 3], [3, 7]], 8, 4, [[0, 3]]),
        ([[0, 3], [3, 7]], 8, 3, [[0, 2]]),
        ([[0, 3], [3, 8]], 8, 4, [[0, 3], [3, 4]]),  # the last token is the second statement's
        ([[0, 3], [3, 8]], 8, 2, [[0, 1], [1, 2]]),
        ([[0, 8], [8, 8]], 8, 5, [[0, 5]]),
        ([[1, 1], [1, 3]], 4, 3, [[1, 2]]),
        ([[1, 3]], 4, 1, [[0, 1]]),  # no token of the text is left: all that is
    ],
)
def test_cutting(spans, length, limit, kept) -> None:
    assert cut_spans(np.array(spans, dtype=np.int32), length, limit).tolist() == kept


@settings(deadline=None, max_examples=60)
@given(
    texts=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=5),
    ends=st.integers(0, 1),
    limit=st.integers(1, 16),
)
def test_most_statements_of_any_text_after_cutting(texts, ends: int, limit: int) -> None:
    """``texts``: tokens of each statement of each text; ``ends``: tokens behind them that belong to none."""
    edges = [np.cumsum([0, *lengths]) for lengths in texts]
    rows = [np.stack([edge[:-1], edge[1:]], axis=1) for edge in edges]
    lengths = np.array([edge[-1] + ends for edge in edges])
    expected = max(len(cut_spans(row.astype(np.int32), length, limit)) for row, length in zip(rows, lengths.tolist()))
    assert StatementTable.of_rows(rows).most(lengths, limit) == expected


def test_table_gives_the_rows_back() -> None:
    rows = [np.array([[0, 1], [1, 1]]), np.array([[0, 2]])]
    table = StatementTable.of_arrays(StatementTable.of_rows(rows).arrays())
    table.check(np.array([1, 3]))
    assert [table[index].tolist() for index in range(2)] == [row.tolist() for row in rows]
    StatementTable.of_rows([]).check(np.array([], dtype=np.int64))
    assert StatementTable.of_arrays({}) is None


@pytest.mark.parametrize(
    ("offsets", "spans", "message"),
    [
        ([0, 1], [[0, 1]], "not those of its texts"),
        ([0, 1, 3], [[0, 1], [0, 2]], "not those of its texts"),
        ([1, 1, 2], [[0, 1], [0, 2]], "not those of its texts"),
        ([0, 0, 2], [[0, 1], [1, 2]], "without statements"),
        ([0, 1, 2], [[0, 2], [0, 3]], "out of order"),
        ([0, 1, 2], [[-1, 1], [0, 3]], "out of order"),
        ([0, 1, 2], [[1, 0], [0, 3]], "out of order"),
        ([0, 1, 3], [[0, 1], [0, 2], [1, 3]], "out of order"),
        ([0, 1, 2], [0, 1], "whole numbers"),
        ([0, 1, 2], [[0.0, 1.0], [0.0, 1.0]], "whole numbers"),
        ([0, 1, 2], None, "without offsets"),
    ],
)
def test_contradictory_tables_are_refused(offsets, spans, message) -> None:
    arrays = {"statement_offsets": np.array(offsets)}
    if spans is not None:
        arrays["statement_spans"] = np.array(spans)
    with pytest.raises(DataError, match=message):
        StatementTable.of_arrays(arrays).check(np.array([1, 3]))
