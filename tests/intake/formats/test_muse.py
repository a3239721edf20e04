"""GE MUSE's XML: real files, twins, refusals, damage."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from format_files import attack, check_agreement, known_counts, measured, real_file
from text_damage import damaged_text

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.formats import muse
from cmelt_plugin.intake.reading import read_ecg
from cmelt_plugin.intake.recording import HEAD, Recording
from tests.intake.writers.muse import LEADS as STORED
from tests.intake.writers.muse import write

REAL = ("braveheart_example1", "braveheart_example2", "braveheart_example3", "muse71_250hz")


def stored_leads(recording: Recording) -> Recording:
    """The leads that the file holds, in its order."""
    rows = [recording.leads.index(lead) for lead in STORED]
    return Recording(recording.signal[rows], recording.sample_rate, STORED)


@pytest.mark.parametrize("name", REAL)
def test_real_files(real_data: Path, name: str) -> None:
    path, expected = real_file(real_data, f"muse/{name}.xml")
    assert muse.matches(path.read_bytes()[:HEAD], path)
    recording = read_ecg(str(path))
    assert recording.leads == LEADS and recording.notes == ("III, aVR, aVL, aVF were computed from I and II.",)
    check_agreement(stored_leads(recording), expected)


def test_twin(tmp_path: Path) -> None:
    counts = known_counts(8)
    path = write(tmp_path / "a.xml", counts)
    assert muse.matches(path.read_bytes()[:HEAD], path)
    recording = measured(read_ecg, path)
    assert recording.leads == LEADS and recording.sample_rate == 500
    np.testing.assert_allclose(stored_leads(recording).signal, counts * 0.00488, atol=1e-6)
    one, two = counts[:2] * 0.00488
    np.testing.assert_allclose(recording.signal[2:6], [two - one, -(one + two) / 2, one - two / 2, two - one / 2], atol=1e-6)
    assert recording.start == datetime(2020, 2, 29, 23, 5, 6)
    assert (recording.sex, recording.age) == ("F", 0.5)
    assert (recording.device, recording.filters) == ("GE MUSE MAC 9.0", "HighPassFilter 5, LowPassFilter 150")


def test_a_rate_with_an_exponent_and_millivolts(tmp_path: Path) -> None:
    counts = known_counts(8)
    path = write(
        tmp_path / "a.xml", counts, base=5, exponent=2, units="MILLIVOLTS", bit="0.001", fields="<LeadOff>TRUE</LeadOff>"
    )
    recording = muse.read(str(path))
    assert recording.sample_rate == 500 and recording.doubtful[0].startswith("the device reports that I, II, V1")
    np.testing.assert_allclose(stored_leads(recording).signal, counts * 0.001, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "Median"}, "no waveform of type Rhythm"),
        ({"leads": ("I", "I", *STORED[2:])}, "lead I twice"),
        ({"units": "COUNTS"}, "in COUNTS"),
        ({"bit": "1e9"}, "1e\\+09 µV a bit"),
        ({"base": 0}, "rate of 0 Hz"),
        ({"exponent": 10**6}, "SampleExponent is 1e\\+06"),
        ({"fields": "<LeadSampleSize>4</LeadSampleSize>"}, "samples of 4 bytes"),
        ({"doctype": '<!DOCTYPE RestingECG [<!ENTITY a "aaaa">]>'}, "declares entities"),
        ({"doctype": '<!DOCTYPE RestingECG [<!ENTITY a SYSTEM "file:///etc/passwd">]>'}, "declares entities"),
        ({"doctype": '<!DOCTYPE RestingECG SYSTEM "restecg.dtd">', "fields": "<LeadNote>&a;</LeadNote>"}, "an entity"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        measured(muse.read, write(tmp_path / "a.xml", known_counts(8), **change))


def test_changed_samples_do_not_have_the_checksum(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", known_counts(8))
    data = path.read_bytes()
    place = data.rindex(b"<WaveFormData>") + 40
    path.write_bytes(data[:place] + (b"B" if data[place : place + 1] == b"A" else b"A") + data[place + 1 :])
    with pytest.raises(DataError, match="lead V6 do not have the checksum"):
        muse.read(str(path))


def test_an_age_from_the_date_of_birth(tmp_path: Path) -> None:
    patient = "<DateofBirth>02-28-1970</DateofBirth><Gender>male</Gender>"
    recording = muse.read(str(write(tmp_path / "a.xml", known_counts(), patient=patient)))
    assert recording.sex == "M" and recording.age == pytest.approx(50, abs=0.02)


@pytest.mark.parametrize("checksums", (True, False))
def test_damaged_files(battery, tmp_path: Path, checksums: bool) -> None:
    path = write(tmp_path / "a.xml", known_counts(8, 520), checksums=checksums)
    name = f"damaged MUSE XML with{'' if checksums else 'out'} checksums"
    attack(battery(name, inputs=60, long=5000), muse.read, path, damaged_text)
