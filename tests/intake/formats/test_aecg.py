"""HL7's annotated ECG: real files, twins, refusals, damage."""

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
from cmelt_plugin.intake.formats import aecg, philips
from cmelt_plugin.intake.reading import read_ecg
from cmelt_plugin.intake.recording import HEAD
from tests.intake.writers.aecg import write

MINIMAL = ("", "_effectiveTime_high", "_effectiveTime_interval", "_effectiveTime_low", "_nouuid")


@pytest.mark.parametrize("name", ("hl7_example_aecg", "calecg_example2"))
def test_real_files(real_data: Path, name: str) -> None:
    path, expected = real_file(real_data, f"aecg/{name}.xml")
    assert aecg.matches(path.read_bytes()[:HEAD], path)
    check_agreement(aecg.read(str(path)), expected)


def test_a_file_that_was_converted_from_philips(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, expected = real_file(real_data, "aecg/philips_ad4d3d80_converted.xml")
    recording = aecg.read(str(path))
    assert recording.notes == ("The last second, a calibration pulse of 1 mV, was left out.",)
    original = philips.read(str(real_file(real_data, "philips/philips104_ad4d3d80.xml")[0]))
    np.testing.assert_allclose(recording.signal, original.signal, atol=0.0201)
    assert (recording.start, recording.sex, recording.age) == (original.start, original.sex, original.age)
    # The values to agree with were taken from the recording with its pulse.
    monkeypatch.setattr(waveforms, "calibration_start", lambda signal, rate: None)
    check_agreement(aecg.read(str(path)), expected)


@pytest.mark.parametrize("name", MINIMAL)
def test_real_files_that_are_too_short(real_data: Path, name: str) -> None:
    path, _ = real_file(real_data, f"aecg/minimal/minimum_aecg{name}.xml")
    assert aecg.matches(path.read_bytes()[:HEAD], path)
    with pytest.raises(DataError, match=r"13 samples, 0.026 s, are too short"):
        read_ecg(str(path))


def test_a_real_file_without_a_recording(real_data: Path) -> None:
    path, _ = real_file(real_data, "aecg/minimal/empty.xml")
    with pytest.raises(DataError, match="no series of code RHYTHM"):
        aecg.read(str(path))


@pytest.mark.parametrize("time", ("TIME_ABSOLUTE", "TIME_RELATIVE"))
def test_twins(tmp_path: Path, time: str) -> None:
    counts = known_counts()
    path = write(tmp_path / "a.xml", counts, time=time)
    assert aecg.matches(path.read_bytes()[:HEAD], path)
    recording = measured(aecg.read, path)
    assert recording.leads == LEADS and recording.sample_rate == 500 and recording.notes == ()
    np.testing.assert_allclose(recording.signal, counts * 0.0025, atol=1e-6)
    assert (recording.start, recording.sex) == (datetime(2020, 2, 29, 23, 5, 6), "F")
    assert recording.age == pytest.approx(50, abs=0.01)
    assert (recording.device, recording.filters) == ("Mortara ELI", "low-pass 150 Hz")


def test_other_units_an_origin_and_a_reported_age(tmp_path: Path) -> None:
    counts = known_counts()
    reported = (
        '<controlVariable><relatedObservation><code code="21612-7"/><value xsi:type="PQ" value="42" unit="a"/>'
        "</relatedObservation></controlVariable>"
    )
    path = write(
        tmp_path / "a.xml",
        counts,
        increment='<increment value="4" unit="ms"/>',
        origin='<origin value="0.1" unit="mV"/>',
        scale='<scale value="5000" unit="nV"/>',
        series=2,
        age=reported,
    )
    recording = aecg.read(str(path))
    assert (recording.sample_rate, recording.age) == (250, 42)
    assert recording.notes == ("1 further rhythms were left out.",)
    np.testing.assert_allclose(recording.signal, 0.1 + counts * 0.005, atol=1e-6)


@pytest.mark.parametrize("time", ("TIME_ABSOLUTE", "TIME_RELATIVE"))
def test_three_leads_at_a_time(tmp_path: Path, time: str) -> None:
    """Four sets of 2.4 s, one after another, stand where they were recorded."""
    counts = np.concatenate([known_counts(), known_counts()], axis=1)
    sets = [(2.4 * part, LEADS[3 * part : 3 * part + 3], counts[3 * part : 3 * part + 3]) for part in range(4)]
    path = write(tmp_path / "a.xml", counts[:3], leads=LEADS[:3], time=time, further=sets[1:])
    recording = aecg.read(str(path))
    assert recording.leads == LEADS and recording.signal.shape == (12, 4800)
    for row in range(12):
        begin = 1200 * (row // 3)
        np.testing.assert_allclose(recording.signal[row, begin : begin + 1200], counts[row] * 0.0025, atol=1e-6)
        assert np.isnan(np.delete(recording.signal[row], slice(begin, begin + 1200))).all()
    assert recording.notes == ("43200 samples are missing.",)


def test_sets_that_have_no_place_are_named(tmp_path: Path) -> None:
    counts = known_counts()
    sets = [(0.1, ("I",), counts[:1]), (3000.0, ("V1", "V2"), counts[6:8])]
    recording = aecg.read(str(write(tmp_path / "a.xml", counts[:3], leads=LEADS[:3], time="TIME_RELATIVE", further=sets)))
    assert recording.leads == LEADS[:3] and recording.signal.shape == (3, 600)
    assert recording.notes == ("Left out: I, V1, V2 of another rate or time.",)


def test_missing_samples(tmp_path: Path) -> None:
    counts = known_counts().astype(int)
    counts[2, 5:8] = 32767
    recording = aecg.read(str(write(tmp_path / "a.xml", counts)))
    assert np.isnan(recording.signal[2, 5:8]).all() and np.isnan(recording.signal).sum() == 3
    assert recording.notes == ("3 samples are missing.",)
    # Where a lead goes beyond 16 bits, these are samples like others.
    counts[2, 8] = 40000
    np.testing.assert_allclose(aecg.read(str(write(tmp_path / "a.xml", counts))).signal, counts * 0.0025, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"code": "REPRESENTATIVE_BEAT"}, "no series of code RHYTHM"),
        ({"leads": ("I", "I", *LEADS[2:])}, "lead I twice"),
        ({"increment": ""}, "increment is in no unit"),
        ({"increment": '<increment value="0.002" unit="Hz"/>'}, "increment is in Hz"),
        ({"increment": '<increment value="0" unit="s"/>'}, "its samples are 0 s apart"),
        ({"increment": '<increment value="1e-9" unit="s"/>'}, "rate of 1e\\+09 Hz"),
        ({"scale": '<scale value="2.5"/>'}, "scale is in no unit"),
        ({"scale": '<scale value="1" unit="V"/>'}, "resolution of 1e\\+06"),
        ({"origin": '<origin value="1e300" unit="uV"/>'}, "samples beyond 10 V"),
        ({"origin": '<origin value="inf" unit="uV"/>'}, "origin is 'inf', not a number"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        measured(aecg.read, write(tmp_path / "a.xml", known_counts(), **change))


@pytest.mark.parametrize("digits", ("x", "1e400", "nan", "1,2"))
def test_digits_that_are_none(tmp_path: Path, digits: str) -> None:
    path = write(tmp_path / "a.xml", known_counts())
    path.write_text(path.read_text().replace("<digits>", f"<digits>{digits} ", 1))
    with pytest.raises(DataError, match="number"):
        aecg.read(str(path))


def test_leads_of_different_lengths(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", known_counts())
    path.write_text(path.read_text().replace("<digits>", "<digits>1 ", 1))
    with pytest.raises(DataError, match="600, 601 samples"):
        aecg.read(str(path))


def test_damaged_files(battery, tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", known_counts(12, 520))
    attack(battery("damaged annotated ECGs", inputs=60, long=10_000), aecg.read, path, damaged_text)
