"""Report normalisation and the table of unique reports."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_texts import write_format_1

from cmelt_plugin.data.text.reports import normal_statements, normalise_report, read_reports, write_reports
from cmelt_plugin.errors import DataError


@pytest.mark.parametrize(
    "text, normal",
    [
        ("Sinus rhythm. Normal ECG.", "sinus rhythm normal ecg"),
        ("  Normal   EKG\t", "normal ecg"),
        ("sinusrhythmus qt-verlÄngerung", "sinusrhythmus qt verlängerung"),
        ("Förmaksflimmer, vänsterställd å", "förmaksflimmer vänsterställd å"),
        ("vorhof:hf  280, 2:1 Überleitung,jetzt", "vorhof hf 280 2:1 überleitung jetzt"),
        ("ST 0.2 mV (0,1) V4-V6, rate 60-100.", "st 0.2 mv 0,1 v4 v6 rate 60-100"),
        ("*** 50% <paced> & [A-V] block ***", "50 paced a v block"),
        ("1_2 a_b", "1 2 a b"),
        ("verla\u0308ngert", "verlängert"),
        ("...", ""),
        ("", ""),
    ],
)
def test_normal_form(text, normal):
    assert normalise_report(text) == normal


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    once = normalise_report(text)
    assert normalise_report(once) == once
    assert once == once.strip() and "  " not in once and "\n" not in once


@given(st.lists(st.text(alphabet="abcäöüåß0123456789", min_size=1), max_size=20))
def test_words_survive(words):
    assert normalise_report(" ".join(words)) == " ".join(words)


def test_long_reports_stay_whole():
    text = " ".join(f"word{i}" for i in range(5000))
    assert normalise_report(text.upper()) == text


def test_round_trip(tmp_path):
    path = write_reports(tmp_path, ["sinus rhythm", "ää"], [3, 1])
    reports = read_reports(tmp_path)
    assert reports.texts.to_pylist() == ["sinus rhythm", "ää"]
    assert reports.counts.tolist() == [3, 1] and reports.counts.dtype == np.int64
    assert reports.path == path
    assert len(reports) == 2


def test_no_reports(tmp_path):
    write_reports(tmp_path, [], [])
    assert len(read_reports(tmp_path)) == 0


def test_damaged_table(tmp_path):
    with pytest.raises(DataError, match="reports.parquet: no such file"):
        read_reports(tmp_path)
    (tmp_path / "reports.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="reports.parquet: unreadable"):
        read_reports(tmp_path)


TRICKY = [*"ab1.,;:!?()'\n\t \u03a3\u03c3\u0131K\u0301\u037e\u2028", ".\u03a3", "aaaa.\u03a3", "bbbb.B", "ca.", "2. ", "ekg"]
PARTS = st.lists(st.sampled_from(TRICKY), max_size=12).map("".join) | st.text(max_size=20)


@settings(deadline=None)
@given(PARTS)
def test_statements_of_a_free_text_make_up_its_normal_form(text):
    assert " ".join(normal_statements(text)) == normalise_report(text)


@settings(deadline=None)
@given(st.lists(PARTS, max_size=5))
def test_fields_are_statements_whatever_they_hold(fields):
    statements = normal_statements(fields)
    assert " ".join(statements) == normalise_report(" ".join(fields))
    assert statements == [text for text in map(normalise_report, fields) if text]


def test_statements_of_free_text_and_of_fields():
    assert normal_statements("Sinus rhythm. 2. AV-Block, ca. 0.2 s. Normal EKG.") == [
        "sinus rhythm",
        "2 av block ca 0.2 s",
        "normal ecg",
    ]
    assert normal_statements(["Sinus rhythm. Normal EKG", "---", "LBBB"]) == ["sinus rhythm normal ecg", "lbbb"]


def test_statements_come_back(tmp_path):
    statements = [["sinus rhythm", "normal ecg"], ["ää"]]
    write_reports(tmp_path, ["sinus rhythm normal ecg", "ää"], [3, 1], statements)
    reports = read_reports(tmp_path)
    assert reports.statements.to_pylist() == statements
    assert reports.statements_kept and reports.format == 2


def test_without_statements_each_report_is_one(tmp_path):
    write_reports(tmp_path, ["sinus rhythm normal ecg", "ää"], [3, 1])
    reports = read_reports(tmp_path)
    assert reports.statements.to_pylist() == [["sinus rhythm normal ecg"], ["ää"]]
    assert not reports.statements_kept


def test_format_1_is_read(tmp_path):
    write_format_1(tmp_path, ["sinus rhythm normal ecg", "ää"], [3, 1])
    reports = read_reports(tmp_path)
    assert reports.texts.to_pylist() == ["sinus rhythm normal ecg", "ää"] and reports.counts.tolist() == [3, 1]
    assert reports.statements.to_pylist() == [["sinus rhythm normal ecg"], ["ää"]]
    assert not reports.statements_kept and reports.format == 1


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ([["sinus", "rhythm"], ["b"]], "are not the text"),
        ([["sinus rhythm"], []], "without a statement"),
        ([["sinus rhythm"]], "1 reports"),
        ([["sinus rhythm"], None], "some missing"),
        ([["sinus rhythm"], [None]], "some missing"),
    ],
)
def test_statements_that_are_not_those_of_the_texts_are_refused(tmp_path, statements, message):
    with pytest.raises(ValueError, match=message):
        write_reports(tmp_path, ["sinus rhythm", "ää"], [1, 1], statements)
    if len(statements) == 2:
        columns = {"report_id": pa.array([0, 1], pa.int32()), "text": ["sinus rhythm", "ää"], "count": [1, 1]}
        table = pa.table({**columns, "statements": pa.array(statements, pa.list_(pa.string()))})
        pq.write_table(table, tmp_path / "reports.parquet")
        with pytest.raises(DataError, match=message):
            read_reports(tmp_path)


def test_a_later_format_is_refused(tmp_path):
    path = write_reports(tmp_path, ["a"], [1])
    pq.write_table(pq.read_table(path).replace_schema_metadata({"reports": '{"format": 3}'}), path)
    with pytest.raises(DataError, match="format 3, this version reads formats 1 and 2"):
        read_reports(tmp_path)
