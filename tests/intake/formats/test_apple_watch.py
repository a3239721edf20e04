"""CSV exports of Apple's watch: a real file, twins in several languages, refusals, damage."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from format_files import attack, check_agreement, known_counts, measured, real_file
from text_damage import damaged_text

from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.formats import apple_watch
from cmelt_plugin.intake.recording import HEAD
from tests.intake.writers.apple_watch import LANGUAGES, write


def microvolts(samples: int = 600) -> np.ndarray:
    return known_counts(1, samples)[0] + 0.125


def test_real_file(real_data: Path) -> None:
    path, expected = real_file(real_data, "other/apple_watch_nl_decimal_comma.csv")
    assert apple_watch.matches(path.read_bytes()[:HEAD], path)
    recording = apple_watch.read(str(path))
    check_agreement(recording, expected)
    assert recording.leads == ("I",) and recording.sample_rate == 511.844
    assert (recording.start, recording.device) == (datetime(2023, 6, 28, 13, 3, 46), "Apple Watch4,2")


@pytest.mark.parametrize("lead", ("I 유도", "I导联", "Lead I", "I"))
def test_a_lead_is_found_where_a_language_puts_it(tmp_path: Path, lead: str) -> None:
    path = write(tmp_path / "a.csv", -microvolts())
    text = path.read_text(encoding="utf-8")
    assert "Lead,Lead I" in text and "\n-" in text
    path.write_text(text.replace("Lead,Lead I", f"Lead,{lead}").replace("\n-", "\n\N{MINUS SIGN}"), encoding="utf-8")
    recording = apple_watch.read(str(path))
    assert recording.leads == ("I",)
    np.testing.assert_allclose(recording.signal[0], -microvolts() / 1000, atol=1e-6)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "change",
    (
        {},
        {"mark": ",", "rate": "511.844"},
        {"mark": ",", "quote": '"'},
        {"encoding": "utf-8-sig", "newline": "\r\n", "unit": "\u03bcV"},
        {"encoding": "utf-16"},
    ),
    ids=("points", "commas", "quoted", "bom", "utf-16"),
)
def test_twins(tmp_path: Path, language: str, change: dict) -> None:
    path = write(tmp_path / "a.csv", microvolts(), language=language, **change)
    assert apple_watch.matches(path.read_bytes()[:HEAD], path)
    recording = measured(apple_watch.read, path)
    assert (recording.leads, recording.sample_rate) == (("I",), float(change.get("rate", 512)))
    np.testing.assert_allclose(recording.signal[0], microvolts() / 1000, atol=1e-6)
    assert (recording.start, recording.device) == (datetime(2020, 2, 29, 23, 5, 6), "Apple Watch4,2")


def test_millivolts(tmp_path: Path) -> None:
    recording = apple_watch.read(str(write(tmp_path / "a.csv", microvolts(), unit="mV")))
    np.testing.assert_allclose(recording.signal[0], microvolts(), rtol=1e-6)


def test_other_tables_are_not_taken_for_a_watch() -> None:
    assert not apple_watch.matches(b"", "")
    assert not apple_watch.matches(b"I,II\n0.1,0.2\n", "a.csv")
    assert not apple_watch.matches(b"time,mV\n0,0.1\n", "a.csv")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"unit": "mmHg"}, "no line with the unit"),
        ({"rate": "many"}, "no line with the sample rate"),
        ({"rate": "99999"}, "rate of 99999 Hz"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        measured(apple_watch.read, write(tmp_path / "a.csv", microvolts(), **change))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,5", "both points and commas"),
        ("nan", "not a finite number"),
        ("1e400", "not a finite number"),
        ("1e300", "samples beyond 10 V"),
        ("--", "not a number"),
    ],
)
def test_lines_that_are_no_sample(tmp_path: Path, line: str, reason: str) -> None:
    path = write(tmp_path / "a.csv", microvolts())
    path.write_text(f"{path.read_text('utf-8')}{line}\n", "utf-8")
    with pytest.raises(DataError, match=reason):
        measured(apple_watch.read, path)


@pytest.mark.parametrize("line", ("1,5,5", "1 2", "1 5 x"))
def test_two_samples_in_a_line(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "a.csv", microvolts(), mark=",")
    path.write_text(f"{path.read_text('utf-8')}{line}\n", "utf-8")
    with pytest.raises(DataError, match="one sample a line"):
        apple_watch.read(str(path))


def test_damaged_files(battery, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", microvolts(700), language="nl", mark=",")
    attack(battery("damaged exports of a watch", inputs=60, long=10_000), apple_watch.read, path, damaged_text)
