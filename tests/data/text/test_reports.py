"""Report normalisation and the table of unique reports."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmelt_plugin.data.files import fingerprint
from cmelt_plugin.data.text.reports import normalise_report, read_reports, write_reports
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
    assert reports.fingerprint == fingerprint(path) and reports.path == path
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
