"""ISHNE Holter recordings: a real one, twins, and damage with a checksum that is right."""

from __future__ import annotations

import struct
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from format_files import attack, check_agreement, known_counts, measured, real_file

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.formats import ishne
from tests.data.readers.test_fuzzing import damaged
from tests.intake.writers.ishne import sealed, write


def test_a_real_file(real_data: Path) -> None:
    path, expected = real_file(real_data, "ishne/ECG_P28.01.ecg")
    assert ishne.matches(path.read_bytes()[:4096], "")
    recording = ishne.read(str(path))
    check_agreement(recording, expected)
    assert recording.start == datetime(2000, 1, 1, 7) and (recording.sex, recording.age) == (None, None)
    # Its source's own test.
    np.testing.assert_allclose(
        recording.signal[1, :10], [0.04, 0.035, 0.04, 0.045, 0.065, 0.05, 0.045, 0.04, 0.03, 0.035], atol=1e-6
    )


def test_annotations_are_no_recording(real_data: Path) -> None:
    path, _ = real_file(real_data, "ishne/ECG_P28.01.ann")
    assert ishne.matches(path.read_bytes()[:4096], "")
    with pytest.raises(DataError, match="annotations.*NAME.ecg"):
        ishne.read(str(path))


def test_twins(tmp_path: Path) -> None:
    counts = known_counts()
    recording = ishne.read(str(write(tmp_path / "a.ecg", counts)))
    assert recording.leads == LEADS and recording.sample_rate == 500 and recording.notes == ()
    assert (recording.start, recording.sex, recording.device) == (datetime(2020, 3, 1, 7, 30), "F", "digital")
    assert recording.age == pytest.approx(60, abs=0.01)
    np.testing.assert_allclose(recording.signal, counts * 0.0025, atol=1e-6)


def test_three_leads_of_which_two_have_no_name(tmp_path: Path) -> None:
    recording = ishne.read(
        str(write(tmp_path / "a.ecg", known_counts(3), codes=(0, 6, 1), birth=(-9, -9, -9), time=(-9, 0, 0)))
    )
    assert recording.leads == ("lead 1", "II", "lead 3")
    assert recording.age is None and recording.start == datetime(2020, 3, 1)
    assert recording.notes == ("The time of day is not given; the start is the beginning of the day.",)


@pytest.mark.parametrize("cut", [2, 600, 1800])
def test_a_file_that_was_cut_is_no_shorter_recording(tmp_path: Path, cut: int) -> None:
    """600 samples of three leads can be divided by three, and are not for that samples of all leads together."""
    path = write(tmp_path / "a.ecg", known_counts(3))
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DataError, match="600 samples of 3 leads announced, (599|500|300) there"):
        ishne.read(str(path))


def test_lengths(tmp_path: Path) -> None:
    counts = known_counts()
    for samples, length in ((600 * 12, 600), (500, 500)):
        recording = ishne.read(str(write(tmp_path / "a.ecg", counts, samples=samples)))
        np.testing.assert_allclose(recording.signal, counts[:, :length] * 0.0025, atol=1e-6)
    assert "600 samples and announces 500" in recording.notes[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"samples": 601}, "601 samples of 12 leads announced, 600 there"),
        ({"samples": 2**31 - 1}, "announced"),
        ({"samples": 0}, "announced"),
        ({"nanovolts": 0}, "0 nV"),
        ({"nanovolts": -9}, "-9 nV"),
        ({"rate": 0}, "0 Hz"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict, reason: str) -> None:
    path = write(tmp_path / "a.ecg", known_counts(), **change)
    with pytest.raises(DataError, match=reason):
        measured(ishne.read, path)


def test_a_variable_block_of_2_gb(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ecg", known_counts())
    data = bytearray(path.read_bytes())
    struct.pack_into("<i", data, 10, 2**31 - 600)
    struct.pack_into("<i", data, 22, 2**31 - 78)
    path.write_bytes(data)
    with pytest.raises(DataError, match="variable block of 2,147"):
        measured(ishne.read, path)


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ecg", known_counts())
    data = bytearray(path.read_bytes())
    data[272] ^= 1  # the rate
    path.write_bytes(data)
    with pytest.raises(DataError, match="checksum"):
        ishne.read(str(path))


def sealed_damage(data: bytes, random: np.random.Generator) -> bytes:
    """Mostly with a checksum that is right, which else hides what lies behind it."""
    changed = damaged(data, random)
    return sealed(changed, 538) if len(changed) > 538 and random.random() < 0.9 else changed


def test_damaged_files(battery, tmp_path: Path) -> None:
    path = write(tmp_path / "a.ecg", known_counts(12, 120))
    attack(battery("damaged ISHNE files", inputs=60, long=10_000), ishne.read, path, sealed_damage)
