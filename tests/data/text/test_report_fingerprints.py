"""What files made from reports know them by: their texts, not how a file stores or divides them."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_texts import write_format_1

from cmelt_plugin.data.files import fingerprint
from cmelt_plugin.data.text.report_fingerprints import (
    METADATA,
    fingerprint_of_statements,
    fingerprint_of_texts,
    known_fingerprints,
    string_array,
)
from cmelt_plugin.data.text.reports import read_reports, write_reports
from cmelt_plugin.errors import DataError

TEXTS = ["sinus rhythm normal ecg", "ää"]


@settings(deadline=None)
@given(st.lists(st.text(max_size=4), max_size=6), st.lists(st.text(max_size=4), max_size=6), st.integers(0, 6))
def test_equal_texts_have_equal_fingerprints_and_others_others(first, second, start):
    assert (fingerprint_of_texts(pa.array(first, pa.string())) == fingerprint_of_texts(pa.array(second, pa.string()))) == (
        first == second
    )
    pieces = pa.chunked_array([pa.array(first[:start], pa.string()), pa.array(first[start:], pa.string())])
    assert fingerprint_of_texts(string_array(pieces)) == fingerprint_of_texts(pa.array(first, pa.string()))
    whole = pa.array([*second, *first], pa.string())
    assert fingerprint_of_texts(whole.slice(len(second))) == fingerprint_of_texts(pa.array(first, pa.string()))


def test_statements_have_a_fingerprint_of_their_own():
    kind = pa.list_(pa.string())
    divided = [[["a", "b"], ["c"]], [["a"], ["b", "c"]], [["a", "b", "c"]]]
    assert len({fingerprint_of_statements(pa.array(value, kind)) for value in divided}) == 3
    part = pa.array([["x"], ["a"]], kind).slice(1)
    assert fingerprint_of_statements(part) == fingerprint_of_statements(pa.array([["a"]], kind))


def test_counts_and_statements_do_not_matter(tmp_path):
    (tmp_path / "b").mkdir()
    first = write_reports(tmp_path, TEXTS, [3, 1], [["sinus rhythm", "normal ecg"], ["ää"]])
    second = write_reports(tmp_path / "b", TEXTS, [1, 1])
    assert fingerprint(first) != fingerprint(second)
    assert known_fingerprints(first)[0] == known_fingerprints(second)[0] == read_reports(tmp_path).fingerprint
    assert read_reports(tmp_path).statements_fingerprint != read_reports(tmp_path / "b").statements_fingerprint


def test_a_file_is_known_by_its_bytes_and_by_those_it_replaced_with_the_same_texts(tmp_path):
    path = write_format_1(tmp_path, TEXTS, [3, 1])
    old = fingerprint(path)
    assert known_fingerprints(path)[-1] == old
    for statements in (None, [["sinus rhythm", "normal ecg"], ["ää"]]):
        write_reports(tmp_path, TEXTS, [3, 1], statements)
        assert fingerprint(path) != old and old in known_fingerprints(path)
    work = tmp_path / ".packing"
    work.mkdir()
    assert old in known_fingerprints(write_reports(work, TEXTS, [3, 1], replaced=tmp_path))
    write_reports(tmp_path, TEXTS[::-1], [1, 3])
    assert old not in known_fingerprints(path)
    write_reports(tmp_path, TEXTS, [3, 1])
    assert old not in known_fingerprints(path)


def test_texts_changed_by_hand_are_not_taken_for_the_former_ones(tmp_path):
    path = write_format_1(tmp_path, TEXTS, [3, 1])
    old = fingerprint(path)
    write_reports(tmp_path, TEXTS, [3, 1])
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "text", pa.array(["other", "ää"])), path)
    assert METADATA in pq.read_schema(path).metadata and old not in known_fingerprints(path)


@pytest.mark.parametrize("metadata", [b"{", b"[]", b"{}", json.dumps({"former": {"texts": "", "files": None}}).encode()])
def test_odd_metadata_say_nothing(tmp_path, metadata):
    path = write_reports(tmp_path, TEXTS, [3, 1])
    pq.write_table(pq.read_table(path).replace_schema_metadata({METADATA: metadata}), path)
    assert known_fingerprints(path) == (read_reports(tmp_path).fingerprint, fingerprint(path))


def test_unreadable(tmp_path):
    path = tmp_path / "reports.parquet"
    for content in (b"no parquet", None):
        if content is None:
            pq.write_table(pa.table({"other": np.arange(3)}), path)
        else:
            path.write_bytes(content)
        with pytest.raises(DataError, match="reports.parquet: unreadable"):
            known_fingerprints(path)
