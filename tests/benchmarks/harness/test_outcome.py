"""Result files."""

from __future__ import annotations

import json

import pytest
from benchmark_results import report
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.harness.outcome import number, read_report
from cmelt_plugin.errors import DataError


def test_what_is_written_is_read_again(tmp_path) -> None:
    original = report(failures={"step": "no memory"})
    original.write(tmp_path / "out.json")
    assert read_report(tmp_path / "out.json") == original


@pytest.mark.parametrize("content", ["[]", '{"format": 99}', '{"format": 1, "date": ""}', "no json"])
def test_other_files_are_refused_by_name(tmp_path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(DataError, match="other.json"):
        read_report(path)


def test_a_figure_without_a_value_is_refused(tmp_path) -> None:
    path = tmp_path / "out.json"
    report().write(path)
    values = json.loads(path.read_text())
    del values["outcomes"]["record_reading"]["ratios"][0]["value"]
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match="incomplete"):
        read_report(path)


def test_text_has_ratios_first_and_everything_a_reader_needs() -> None:
    lines = report().outcomes["record_reading"].text("record_reading").splitlines()
    assert lines[0] == "record_reading  (2 s)"
    assert lines[1].split() == ["packed", "/", "mat", "10.0", "×", "[9.90,", "10.1]"]
    assert lines[2].split()[:3] == ["loading", "2.00", "s"]
    assert lines[3:] == ["  checked: equal", "  note: a note"]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1234567.8, "1,234,568"), (123.4, "123"), (12.34, "12.3"), (0.01234, "0.0123"), (1, "1.00")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(1e-3, 1e9))
def test_a_shown_number_is_within_half_a_percent(value: float) -> None:
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=0.0051)
