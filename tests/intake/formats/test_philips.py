"""Philips' XML: real files with the values of other readers, twins, the calibration pulse, refusals, damage."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from format_files import attack, check_agreement, known_counts, measured, real_file
from text_damage import damaged_text

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake import waveforms
from cmelt_plugin.intake.formats import philips, xli
from cmelt_plugin.intake.recording import HEAD
from tests.intake.writers.philips import packed_lead, residuals, write

# Counts at sample 2750, of the tests of the readers' own repositories where there are any.
REAL = {
    "sierra103_mrx_129DYPRG": (-9, -17, -7, 13, -1, -12, 0, -1, -3, -4, -7, -6),
    "sierra103_repbeats": (-9, -17, -7, 13, -1, -12, 0, -1, -3, -4, -7, -6),
    "sierra103_pagewriter_utf16": None,
    "philips104_demo_patient": (-11, -54, -43, 33, 16, -50, 7, -4, -14, -41, -35, -33),
    "philips104_ad4d3d80": (32, 46, 14, -39, 9, 30, -74, 320, -1633, 197, 26, 55),
    "philips10401_2020": (-12, 78, 90, -33, -51, 84, 14, 3, -24, -20, -13, -21),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(real_data: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, expected = real_file(real_data, f"philips/{name}.xml")
    assert philips.matches(path.read_bytes()[:HEAD], path)
    recording = philips.read(str(path))
    assert recording.leads == LEADS and recording.signal.shape == (12, 5000)
    assert recording.notes == ("The last second, a calibration pulse of 1 mV, was left out.",)
    if REAL[name]:
        np.testing.assert_array_equal(np.rint(recording.signal[:, 2750] / 0.005), REAL[name])
    # The values to agree with were taken from the recording with its pulse.
    monkeypatch.setattr(waveforms, "calibration_start", lambda signal, rate: None)
    whole = philips.read(str(path))
    check_agreement(whole, expected)
    np.testing.assert_array_equal(whole.signal[:, :5000], recording.signal)


def test_a_recording_without_electrodes_is_refused(real_data: Path) -> None:
    path, _ = real_file(real_data, "philips/sierra103_mrx_all_leads_off.xml")
    with pytest.raises(DataError, match=r"calls the recording defective \(All 12 leads are missing\)"):
        philips.read(str(path))


@pytest.mark.parametrize("version", philips.VERSIONS)
@pytest.mark.parametrize(
    ("encoding", "declared"), (("utf-8", None), ("utf-16", None), ("utf-8", "utf-16"), ("latin-1", "ISO8859-1"))
)
def test_twins(tmp_path: Path, version: str, encoding: str, declared: str | None) -> None:
    counts = known_counts()
    counts[3, 100:120] = -3000  # steps that need 16 bits
    path = write(tmp_path / "a.xml", counts, version=version, encoding=encoding, declared=declared)
    assert philips.matches(path.read_bytes()[:HEAD], path)
    recording = measured(philips.read, path)
    assert recording.leads == LEADS and recording.sample_rate == 500
    np.testing.assert_allclose(recording.signal, counts * 0.005, atol=1e-6)
    assert recording.start == datetime(2020, 2, 29, 23, 5, 6)
    assert (recording.sex, recording.age) == ("M", 50 if version == "1.03" else 50.0)
    assert (recording.device, recording.filters, recording.notes) == ("Philips PageWriter", "0.05-150 Hz", ())


def test_a_calibration_pulse_is_left_out_and_an_ecg_of_11_s_is_not(tmp_path: Path) -> None:
    counts = known_counts(12, 5500)
    assert philips.read(str(write(tmp_path / "a.xml", counts))).signal.shape == (12, 5500)
    counts[:, 5350:] = 0
    counts[:, 5350:5450] = 200
    recording = philips.read(str(write(tmp_path / "a.xml", counts)))
    np.testing.assert_allclose(recording.signal, counts[:, :5000] * 0.005, atol=1e-6)
    assert "calibration pulse" in recording.notes[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": "1.05"}, "version 1.05"),
        ({"severity": "DE"}, "All 12 leads are missing"),
        ({"method": "Huffman"}, "not compressed as XLI"),
        ({"rate": "0"}, "1.2 s at 0 Hz"),
        ({"rate": "1e400"}, "not a number"),
        ({"milliseconds": "2000000000"}, "2e\\+06 s"),
        ({"milliseconds": "1202"}, "a lead of 1200 bytes or more where 1202 are expected"),
        ({"milliseconds": "1198"}, "a lead of .* where 1198 are expected"),
        ({"bit": "5e6"}, "resolution of 5e\\+06"),
        ({"version": "1.04", "labels": "II I III aVR aVL aVF V1 V2 V3 V4 V5 V6"}, "its leads are II I III"),
        ({"data": b""}, "the data end before"),
        ({"data": b"\xff\xff\xff\x7f" + bytes(20)}, "2,147,483,647 bytes, 16 are left"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        measured(philips.read, write(tmp_path / "a.xml", known_counts(), **change))


def test_codes_that_cannot_occur_and_bombs(tmp_path: Path) -> None:
    header = packed_lead(known_counts(1)[0])[:8]
    with pytest.raises(ValueError, match="code 1000 where the table has 256"):
        xli.decode(header + (1000 << 6).to_bytes(2, "big") * 5000, 1, 600)
    # Equal samples compress best; no more are expanded than were announced.
    flat = packed_lead(np.zeros(100_000, np.int64))
    with pytest.raises(ValueError, match="where 1200 are expected"):
        xli.decode(flat, 1, 600)


def test_residuals_are_undone() -> None:
    counts = known_counts().astype(np.int64)
    np.testing.assert_array_equal(philips.from_residuals(residuals(counts)), counts)


def test_damaged_files(battery, tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", known_counts(12, 520), version="1.04")
    attack(battery("damaged Philips XML", inputs=60, long=10_000), philips.read, path, damaged_text)
