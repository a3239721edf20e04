"""CardioSoft's XML: a real file, twins, refusals, damage."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from format_files import attack, check_agreement, known_counts, measured, real_file
from text_damage import damaged_text

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.formats import cardiosoft
from cmelt_plugin.intake.recording import HEAD
from tests.intake.writers.cardiosoft import write


def test_real_file(real_data: Path) -> None:
    path, expected = real_file(real_data, "other/cardiosoft_671.xml")
    assert cardiosoft.matches(path.read_bytes()[:HEAD], path)
    recording = cardiosoft.read(str(path))
    check_agreement(recording, expected)
    assert (recording.device, recording.filters) == ("GE CardioSoft V6.71", "Filter50Hz, LowPass 150 Hz")
    assert (recording.sex, recording.age) == (None, None)


@pytest.mark.parametrize(("age", "years"), (('<Age units="years">50</Age>', 50), ("", 40)))
def test_twins(tmp_path: Path, age: str, years: int) -> None:
    counts = known_counts()
    path = write(tmp_path / "a.xml", counts, age=age)
    assert cardiosoft.matches(path.read_bytes()[:HEAD], path)
    recording = measured(cardiosoft.read, path)
    assert recording.leads == LEADS and recording.sample_rate == 500
    np.testing.assert_allclose(recording.signal, counts * 0.005, atol=1e-6)
    assert (recording.start, recording.sex) == (datetime(2020, 2, 29, 23, 5, 6), "F")
    assert recording.age == pytest.approx(years, abs=0.01)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"block": "OtherData"}, "no StripData"),
        ({"leads": ("I", "I", *LEADS[2:])}, "lead I twice"),
        ({"rate": "5e9"}, "rate of 5e\\+09 Hz"),
        ({"rate": "fast"}, "SampleRate is 'fast', not a number"),
        ({"bit": "-5"}, "resolution of -5 µV"),
        ({"units": "LsbPerMv"}, "samples are in LsbPerMv"),
        ({"total": 2**31}, "600 samples where ChannelSampleCountTotal says 2147483648"),
        ({"number": 8}, "12 leads where NumberOfLeads says 8"),
        ({"encoding": "no-such-code"}, "cannot be read as a CardioSoft XML file"),
        ({"encoding": "utf-8"}, "not well-formed"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        measured(cardiosoft.read, write(tmp_path / "a.xml", known_counts(), **change))


def test_damaged_files(battery, tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", known_counts(12, 520))
    attack(battery("damaged CardioSoft XML", inputs=60, long=10_000), cardiosoft.read, path, damaged_text)
