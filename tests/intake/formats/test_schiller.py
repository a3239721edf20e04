"""Schiller's XML: a real file, twins, refusals, damage."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from format_files import attack, check_agreement, known_counts, measured, real_file
from text_damage import damaged_text

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.formats import schiller
from cmelt_plugin.intake.reading import read_ecg
from cmelt_plugin.intake.recording import HEAD
from tests.intake.writers.schiller import write


def test_real_file(real_data: Path) -> None:
    path, _ = real_file(real_data, "other/schiller_edi_at110.xml")
    assert schiller.matches(path.read_bytes()[:HEAD], path)
    recording = schiller.read(str(path))
    check_agreement(recording, rhythm_of(real_data))
    one, two, three = recording.signal[:3]
    np.testing.assert_allclose(one + three, two, atol=1e-6)
    assert (recording.start, recording.sex, recording.age) == (datetime(2006, 5, 2, 14, 6, 10), "M", None)
    assert recording.filters == "HIGHPASS_CUTOFF_FREQ 0.05, LOWPASS_CUTOFF_FREQ 150"


def rhythm_of(real_data: Path) -> dict:
    """What expected.json says of the rhythm: its averages come first there, and its leads are in capitals."""
    entries = json.loads((real_data / "formats" / "expected.json").read_text(encoding="utf-8"))
    groups = entries["other/schiller_edi_at110.xml"]["groups"]
    rhythm = next(group for group in groups if group["name"] == "ecg_rhythms")
    return {**rhythm, "leads": {lead.replace("AV", "aV"): values for lead, values in rhythm["leads"].items()}}


def test_twin(tmp_path: Path) -> None:
    counts = known_counts()
    path = write(tmp_path / "a.xml", counts)
    assert schiller.matches(path.read_bytes()[:HEAD], path)
    recording = measured(schiller.read, path)
    assert recording.leads == LEADS and recording.sample_rate == 500
    np.testing.assert_allclose(recording.signal, counts * 0.001, atol=1e-6)
    assert (recording.start, recording.sex) == (datetime(2020, 2, 29, 23, 5, 6), "F")
    assert recording.age == pytest.approx(50, abs=0.01)
    assert (recording.device, recording.filters) == ("Schiller AT-110", "LOWPASS_CUTOFF_FREQ 150")


def test_two_leads_in_millivolts(tmp_path: Path) -> None:
    counts = known_counts(2)
    recording = read_ecg(str(write(tmp_path / "a.xml", counts, leads=("I", "II"), bit="0.005", units="MV")))
    np.testing.assert_allclose(recording.signal[:2], counts * 0.005, atol=1e-6)
    assert recording.leads == LEADS[:6] and recording.notes == ("III, aVR, aVL, aVF were computed from I and II.",)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "ECG_OTHER"}, "no wavedata of type ECG_RHYTHMS"),
        ({"leads": ("I", "I", *LEADS[2:])}, "lead I twice"),
        ({"rate": "-500"}, "rate of -500 Hz"),
        ({"bit": "0"}, "resolution of 0 µV"),
        ({"units": "ADU"}, "samples are in adu"),
        ({"written_as": "BASE64"}, "written as BASE64"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        measured(schiller.read, write(tmp_path / "a.xml", known_counts(), **change))


def test_a_lying_count(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", known_counts())
    path.write_text(path.read_text("utf-8-sig").replace("<samplecount>600<", "<samplecount>2000000000<"), "utf-8")
    with pytest.raises(DataError, match="600 samples where samplecount says 2000000000"):
        measured(schiller.read, path)


def test_damaged_files(battery, tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", known_counts(12, 520))
    attack(battery("damaged Schiller XML", inputs=60, long=10_000), schiller.read, path, damaged_text)
