"""EDF: a real file, twins of every unit, which signals are taken for the ECG, what is refused, and damage."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from format_files import attack, check_agreement, known_counts, measured, real_file

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.formats import edf
from tests.data.readers.test_fuzzing import damaged
from tests.intake.writers.edf import write


def test_a_real_file_whose_scale_is_wrong_is_read_as_labelled_and_says_so(real_data: Path) -> None:
    path, expected = real_file(real_data, "other/contec_0000050_limb_only.edf")
    assert edf.matches(path.read_bytes()[:4096], "")
    recording = edf.read(str(path))
    check_agreement(recording, expected)
    (doubt,) = recording.doubtful
    assert doubt == "a count is 0.0305 mV by the scale in the file, coarser than recorders are: it may be wrong"


@pytest.mark.parametrize(("unit", "millivolts"), [("uV", 0.0025), ("\xb5V", 0.0025), ("nV", 2.5e-6)])
def test_twins(tmp_path: Path, unit: str, millivolts: float) -> None:
    counts = known_counts()
    recording = edf.read(str(write(tmp_path / "a.edf", counts, unit=unit)))
    assert recording.leads == LEADS and recording.sample_rate == 500 and recording.notes == recording.doubtful == ()
    assert (recording.start, recording.sex) == (datetime(2020, 3, 1, 7, 30), "F")
    assert recording.age == pytest.approx(60, abs=0.01)
    assert recording.filters == "HP:0.05Hz LP:150Hz"
    np.testing.assert_allclose(recording.signal, counts * millivolts, atol=1e-6)


def test_a_scale_with_an_offset(tmp_path: Path) -> None:
    counts = known_counts(1)
    path = write(tmp_path / "a.edf", counts, ["ECG II"], unit="mV", physical=("-1", "7"), digital=(-1000, 1000))
    recording = edf.read(str(path))
    assert recording.leads == ("II",)
    np.testing.assert_allclose(recording.signal, counts * 0.004 + 3, atol=1e-6)


def test_annotations_and_other_signals_are_left_out(tmp_path: Path) -> None:
    counts = [*known_counts(3, 600), np.zeros(60, np.int16), np.ones(120, np.int16)]
    labels = ["EEG Fpz-Cz", "ECG I", "EKG II", "Resp", "EDF Annotations"]
    recording = edf.read(str(write(tmp_path / "a.edf", counts, labels, rates=(100, 100, 100, 10, 20))))
    assert recording.leads == ("I", "II") and recording.notes == ("Left out: EEG Fpz-Cz, Resp.",)
    np.testing.assert_allclose(recording.signal, np.stack(counts[1:3]) * 0.0025, atol=1e-6)


def test_labels_that_say_nothing(tmp_path: Path) -> None:
    recording = edf.read(str(write(tmp_path / "a.edf", known_counts(3), ["CH1", "CH2", "Fp1-F3"])))
    assert recording.leads == ("CH1", "CH2")
    assert recording.notes == ("No label says that a signal is an ECG; all voltages are read.", "Left out: Fp1-F3.")
    with pytest.raises(DataError, match="holds no ECG, but EEG C3, Resp"):
        edf.read(str(write(tmp_path / "a.edf", known_counts(2), ["EEG C3", "Resp"])))


def test_years_of_two_digits_and_a_length_that_is_not_known(tmp_path: Path) -> None:
    recording = edf.read(str(write(tmp_path / "a.edf", known_counts(), kind="", patient="", recording="", records=-1)))
    assert (recording.start, recording.sex, recording.age) == (datetime(2020, 3, 1, 7, 30), None, None)
    assert recording.signal.shape == (12, 600) and "does not say how long" in recording.notes[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "EDF+D"}, "discontinuous"),
        ({"unit": ""}, "unit ''"),
        ({"unit": "mmHg"}, "unit 'mmHg'"),
        ({"physical": ("1", "1")}, "no scale"),
        ({"digital": (5, 5)}, "no scale"),
        ({"physical": ("-9e999", "1")}, "'-9e999' where the physical minimum"),
        ({"physical": ("-9e99", "1")}, "too large"),
        ({"seconds": "0"}, "data record of 0 s"),
        ({"seconds": "x"}, "'x' where the seconds"),
        ({"records": 7}, "7 data records announced, 6 there"),
        ({"records": 99999999}, "announced"),
        ({"labels": ["I"] * 12}, "a lead twice"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict, reason: str) -> None:
    path = write(tmp_path / "a.edf", known_counts(), **change)
    with pytest.raises(DataError, match=reason):
        measured(edf.read, path)


def test_leads_of_different_rates_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.edf", [*known_counts(1), *known_counts(1, 300)], ["I", "II"], rates=(100, 50))
    with pytest.raises(DataError, match="different sample rates"):
        edf.read(str(path))


def test_damaged_files(battery, tmp_path: Path) -> None:
    path = write(tmp_path / "a.edf", known_counts(3, 300), LEADS[:3])
    attack(battery("damaged EDF files", inputs=60, long=10_000), edf.read, path, damaged)
