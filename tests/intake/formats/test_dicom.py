"""DICOM waveforms: real files, twins in every form of the samples, groups, and damage."""

from __future__ import annotations

import csv
import struct
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from format_files import attack, check_agreement, known_counts, measured, real_file

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers import contract
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.formats import dicom
from tests.data.readers.test_fuzzing import damaged
from tests.intake.writers.dicom import group, write

pytest.importorskip("pydicom", minversion="3", reason="pydicom 3 is not installed: pip install 'cmelt-plugin[echo]'")


@pytest.mark.parametrize("name", ("mortara_el250_anonymous", "ecgtoolkit_example"))
def test_real_files(real_data: Path, name: str) -> None:
    path, expected = real_file(real_data, f"dicom/{name}.dcm")
    assert dicom.matches(path.read_bytes()[:4096], "")
    recording = dicom.read(str(path))
    check_agreement(recording, expected)
    assert recording.leads == LEADS and np.isfinite(recording.signal).all()
    assert recording.notes[-1] == "1 derived groups, such as median beats, are left out."


def test_facts_of_a_real_file(real_data: Path) -> None:
    recording = dicom.read(str(real_file(real_data, "dicom/mortara_el250_anonymous.dcm")[0]))
    assert (recording.start, recording.sex, recording.age) == (datetime(2013, 1, 25, 10, 59, 19), "F", 42)
    assert recording.device == "Mortara Instrument, Inc. el250"
    assert recording.filters == "high-pass 0.05 Hz, low-pass 300 Hz"


def test_every_sample_of_a_real_file(real_data: Path) -> None:
    """The same recording as a table of microvolts: times, leads, and times of the day."""
    path, _ = real_file(real_data, "dicom/mortara_el250_anonymous_rhythm.csv")
    with open(path, newline="") as text:
        lines = [line[1:13] for line in csv.reader(text) if line and line[0].replace(".", "").isdigit()]
    table = np.array(lines, dtype=np.float64).T
    recording = dicom.read(str(path).replace("_rhythm.csv", ".dcm"))
    assert table.shape == recording.signal.shape
    np.testing.assert_allclose(recording.signal * 1e3, table, atol=0.01)


def test_the_same_recording_in_two_formats(real_data: Path) -> None:
    from cmelt_plugin.intake.formats import scp

    one = dicom.read(str(real_file(real_data, "dicom/ecgtoolkit_example.dcm")[0]))
    other = scp.read(str(real_file(real_data, "scp/ecgtoolkit_example.scp")[0]))
    np.testing.assert_allclose(one.signal, other.signal[[other.leads.index(lead) for lead in one.leads]], atol=1e-6)
    assert (one.start, one.sex, one.age) == (other.start, other.sex, other.age)


@pytest.mark.parametrize("syntax", ("ExplicitVRLittleEndian", "ImplicitVRLittleEndian", "ExplicitVRBigEndian"))
@pytest.mark.parametrize("kind", ("SS", "US", "SL"))
def test_twins(tmp_path: Path, syntax: str, kind: str) -> None:
    counts = known_counts().astype(np.int64) + (1000 if kind == "US" else 0)
    item = group(counts, kind=kind, order=">" if "Big" in syntax else "<", correction="1.5", baseline="-100")
    recording = dicom.read(str(write(tmp_path / "a.dcm", [item], syntax=syntax, kind="GeneralECGWaveformStorage")))
    assert recording.leads == LEADS and recording.sample_rate == 500 and recording.notes == ()
    assert (recording.start, recording.sex, recording.device) == (datetime(2020, 3, 1, 7, 30), "F", "Nobody Twin")
    assert recording.age == pytest.approx(60, abs=0.01) and recording.filters == "high-pass 0.05 Hz, low-pass 150 Hz"
    np.testing.assert_allclose(recording.signal, counts * 0.00375 - 0.1, atol=1e-5)


def test_samples_of_8_bits(tmp_path: Path) -> None:
    counts = np.clip(known_counts(3, 101) // 4, -120, 120)
    recording = dicom.read(str(write(tmp_path / "a.dcm", [group(counts, LEADS[:3], kind="SB", unit="mV", sensitivity="0.01")])))
    np.testing.assert_allclose(recording.signal, counts * 0.01, atol=1e-6)


@pytest.mark.parametrize("scheme", ("SCPECG", "MDC", "99OWN"))
def test_leads_by_code_or_else_by_name(tmp_path: Path, scheme: str) -> None:
    leads = LEADS[::-1]
    recording = dicom.read(str(write(tmp_path / "a.dcm", [group(known_counts(), leads, scheme=scheme)])))
    assert recording.leads == leads


def test_median_beats_are_never_the_rhythm(tmp_path: Path) -> None:
    rhythm, beats = known_counts(), known_counts(12, 5000, seed=1)
    groups = [
        group(beats, label="MEDIAN BEAT", originality="DERIVED"),
        group(beats, label="Median template"),
        group(rhythm),
    ]
    recording = dicom.read(str(write(tmp_path / "a.dcm", groups)))
    np.testing.assert_allclose(recording.signal, rhythm * 0.0025, atol=1e-6)
    with pytest.raises(DataError, match="median beats alone"):
        dicom.read(str(write(tmp_path / "a.dcm", groups[:2])))


def test_derived_leads_are_no_median_beats(tmp_path: Path) -> None:
    counts = known_counts(12, 1000)
    twelve = group(counts, originality="DERIVED", label="RHYTHM EASI")
    recording = dicom.read(str(write(tmp_path / "a.dcm", [twelve])))
    np.testing.assert_allclose(recording.signal, counts * 0.0025, atol=1e-6)
    assert recording.notes == (f"The device derived {', '.join(LEADS)} from other leads.",)
    # With those that they are derived from, of which a lead is never replaced; and with a beat of no label.
    own = group(counts[::-1][:3, :900], ("ES", "AS", "I"), scheme="99OWN")
    beat = group(counts[:, :600], originality="DERIVED", label="")
    recording = dicom.read(str(write(tmp_path / "a.dcm", [beat, twelve, own])))
    assert recording.leads[:12] == LEADS and recording.signal.shape == (14, 1000)
    np.testing.assert_allclose(recording.signal[0, :900], counts[9, :900] * 0.0025, atol=1e-6)
    assert "I (RHYTHM EASI)" in recording.notes[-2] and recording.notes[-1].startswith("1 derived groups")
    with pytest.raises(DataError, match="median beats alone"):
        dicom.read(str(write(tmp_path / "a.dcm", [beat])))


def test_derived_leads_of_another_rate(tmp_path: Path) -> None:
    counts = known_counts(12, 1000)
    groups = [group(counts[:3], LEADS[:3], rate=250), group(counts, originality="DERIVED")]
    recording = dicom.read(str(write(tmp_path / "a.dcm", groups)))
    assert recording.leads == LEADS[:3] and recording.sample_rate == 250 and "V6 (RHYTHM)" in recording.notes[-1]


def test_groups_of_leads_one_after_the_other(tmp_path: Path) -> None:
    counts = known_counts(12, 100)
    groups = [group(counts[n : n + 3], LEADS[n : n + 3], offset=n / 3 * 200) for n in (0, 3, 6, 9)]
    recording = dicom.read(str(write(tmp_path / "a.dcm", groups)))
    assert recording.leads == LEADS and recording.signal.shape == (12, 400)
    assert "not recorded at the same time" in recording.notes[0]
    np.testing.assert_allclose(recording.signal[3:6, 100:200], counts[3:6] * 0.0025, atol=1e-6)
    assert np.isnan(recording.signal[3:6, :100]).all() and np.isnan(recording.signal[3:6, 200:]).all()
    # An offset of days is not believed.
    groups[1].MultiplexGroupTimeOffset = "1e12"
    recording = measured(dicom.read, write(tmp_path / "a.dcm", groups))
    assert recording.leads == LEADS[:3] and "Left out" in recording.notes[-1]


def three_by_four(counts: np.ndarray) -> list:
    """Groups of three leads one after the other; ``counts`` of all twelve, four times as long."""
    part = counts.shape[1] // 4
    return [
        group(counts[n : n + 3, n // 3 * part : (n // 3 + 1) * part], LEADS[n : n + 3], offset=n // 3 * part * 2)
        for n in (0, 3, 6, 9)
    ]


@pytest.mark.parametrize("rate", (500, 250))
def test_three_by_four_with_a_rhythm_strip(tmp_path: Path, rate: float) -> None:
    counts = known_counts(12, 2000)
    strip = group(counts[1:2, :: 500 // rate], ("II",), rate=rate, label="STRIP")
    recording = dicom.read(str(write(tmp_path / "a.dcm", [*three_by_four(counts), strip])))
    assert recording.leads == LEADS and recording.sample_rate == 500 and "not recorded at the same time" in recording.notes[0]
    expected = np.full(counts.shape, np.nan)
    for n in range(12):
        place = slice(n // 3 * 500, (n // 3 + 1) * 500) if n != 1 or rate != 500 else slice(None)
        expected[n, place] = counts[n, place] * 0.0025
    np.testing.assert_allclose(recording.signal, expected, atol=1e-6)
    longer, otherwise = (
        "as a longer or original group has the lead at the same time: II (RHYTHM).",
        "as not sampled at 500 Hz: II (STRIP).",
    )
    assert recording.notes[1:] == (f"Left out, {longer if rate == 500 else otherwise}",)


def test_one_mistaken_offset_leaves_out_one_group(tmp_path: Path) -> None:
    counts = known_counts(12, 2000)
    groups = [*three_by_four(counts), group(counts[1:2], ("II",))]
    groups[2].MultiplexGroupTimeOffset = "1e12"
    recording = measured(dicom.read, write(tmp_path / "a.dcm", groups))
    assert recording.leads == LEADS[:6] + LEADS[9:] and recording.signal.shape[1] == 2000
    assert recording.notes[-1].endswith("quite another time: V1 (RHYTHM), V2 (RHYTHM), V3 (RHYTHM).")


@pytest.mark.parametrize("gap", (0, 100, -1))
def test_the_same_leads_in_groups_one_after_the_other(tmp_path: Path, gap: int) -> None:
    """Also with an offset of whole milliseconds, by which the groups share a sample."""
    counts = known_counts(12, 1000)
    groups = [group(counts[:, :501]), group(counts[:, 501:], offset=1002 + 2 * gap)]
    recording = dicom.read(str(write(tmp_path / "a.dcm", groups)))
    assert recording.leads == LEADS and recording.signal.shape == (12, 1000 + gap)
    np.testing.assert_allclose(recording.signal[:, :501], counts[:, :501] * 0.0025, atol=1e-6)
    np.testing.assert_allclose(recording.signal[:, -498:], counts[:, -498:] * 0.0025, atol=1e-6)
    assert np.isnan(recording.signal).sum() == 12 * max(gap, 0)
    assert recording.notes == (("The recording has gaps, in which every lead is missing.",) if gap > 0 else ())


def test_groups_at_the_same_time_are_not_joined(tmp_path: Path) -> None:
    counts = known_counts(12, 1000)
    groups = [group(counts[:, :600]), group(counts[:, 600:], offset=100, label="SECOND")]
    recording = dicom.read(str(write(tmp_path / "a.dcm", groups)))
    np.testing.assert_allclose(recording.signal, counts[:, :600] * 0.0025, atol=1e-6)
    assert len(recording.notes) == 1 and "V6 (SECOND)" in recording.notes[0]


def test_groups_of_many_leads_one_after_the_other_claim_no_memory(tmp_path: Path) -> None:
    counts = known_counts(1, 20_000)
    groups = [group(counts, (f"X{n}",), scheme="99OWN", offset=n * 40_000) for n in range(60)]
    with pytest.raises(DataError, match="as a DICOM file: 72,000,000 samples at once, at most"):
        measured(dicom.read, write(tmp_path / "a.dcm", groups))


@pytest.mark.parametrize("kind", ("SB", "SS", "SL"))
def test_the_limit_is_one_of_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Two groups of leads recorded at once and one that is left out: no group is too large, nor are those joined."""
    monkeypatch.setattr(contract, "LARGEST_ARRAY", 8 * 700)
    groups = [group(np.ones((1, 350), np.int8), (lead,), kind=kind) for lead in ("I", "II")]
    recording = dicom.read(str(write(tmp_path / "a.dcm", groups)))
    assert recording.signal.shape == (2, 350)
    groups.append(group(np.ones((1, 2), np.int8), ("V1",), kind=kind, rate=250))
    with pytest.raises(DataError, match="702 samples at once"):
        dicom.read(str(write(tmp_path / "a.dcm", groups)))


@pytest.mark.parametrize(
    ("offset", "start"),
    [
        (3_600_000, datetime(2020, 3, 1, 8, 30)),
        (-1500, datetime(2020, 3, 1, 7, 29, 58)),
        ("1e300", None),
    ],
)
def test_the_start_is_that_of_the_first_group(tmp_path: Path, offset: float | str, start: datetime | None) -> None:
    """Of those that are joined."""
    counts = known_counts()
    groups = [group(counts, LEADS, offset=0, rate=250, label="MEDIAN"), group(counts, offset=offset)]
    recording = dicom.read(str(write(tmp_path / "a.dcm", groups)))
    assert recording.start == start and recording.age == pytest.approx(60, abs=0.01)


@pytest.mark.parametrize("apart", (False, True))
def test_a_channel_without_sensitivity_is_left_out(tmp_path: Path, apart: bool) -> None:
    """Of the group of the leads, and as a group of its own, of another rate."""
    counts = known_counts(13)
    ecg = group(counts[: 12 if apart else 13], LEADS if apart else (*LEADS, "Event"), scheme="99OWN")
    if not apart:
        del ecg.ChannelDefinitionSequence[12].ChannelSensitivity
    marks = [group(counts[12:], ("Event",), scheme="99OWN", sensitivity="", rate=50)] if apart else []
    recording = dicom.read(str(write(tmp_path / "a.dcm", [*marks, ecg])))
    assert recording.leads == LEADS and recording.notes == ("Left out: Lead Event (own words), no calibrated voltages.",)
    np.testing.assert_allclose(recording.signal, counts[:12] * 0.0025, atol=1e-6)
    del ecg.ChannelDefinitionSequence[11].ChannelSensitivity
    with pytest.raises(DataError, match=r"channel 12 \(V6\) gives no sensitivity"):
        dicom.read(str(write(tmp_path / "a.dcm", [*marks, ecg])))


def test_markers_of_missing_samples(tmp_path: Path) -> None:
    counts = known_counts()
    counts[0, :5], counts[1, 7], counts[2, 9] = 32767, -32768, 0
    recording = dicom.read(str(write(tmp_path / "a.dcm", [group(counts, padding=32767)])))
    assert np.isnan(recording.signal[0, :5]).all() and np.isnan(recording.signal[1, 7])
    assert np.isfinite(recording.signal).sum() == counts.size - 6
    # Zero is an ordinary sample, whatever the field of padding says.
    counts = known_counts()
    counts[2, 9] = 0
    recording = dicom.read(str(write(tmp_path / "a.dcm", [group(counts, padding=0)])))
    assert np.isfinite(recording.signal).all() and "padding value" in recording.notes[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sensitivity": ""}, "not calibrated"),
        ({"sensitivity": "0"}, "sensitivity 0"),
        ({"unit": "mm[Hg]"}, "no channel is a calibrated voltage"),
        ({"leads": ["I"] * 12}, "a lead twice"),
        ({"rate": 0}, "0 Hz"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        dicom.read(str(write(tmp_path / "a.dcm", [group(known_counts(), **change)])))


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("NumberOfWaveformSamples", 601, "14,400 bytes of samples where 14,424 are announced"),
        ("NumberOfWaveformSamples", 4294967295, "announced"),
        ("NumberOfWaveformChannels", 11, "11 channels, 12 defined"),
        ("WaveformBitsAllocated", 32, "of 32 bits"),
        ("WaveformSampleInterpretation", "MB", "kind MB"),
    ],
)
def test_lies(tmp_path: Path, field: str, value: object, reason: str) -> None:
    item = group(known_counts())
    setattr(item, field, value)
    with pytest.raises(DataError, match=reason):
        measured(dicom.read, write(tmp_path / "a.dcm", [item]))


def test_an_element_that_announces_4_gb(tmp_path: Path) -> None:
    counts = known_counts()
    path = write(tmp_path / "a.dcm", [group(counts)])
    data = path.read_bytes()
    place = data.index(bytes.fromhex("00541010") + b"OW\0\0") + 8
    path.write_bytes(data[:place] + struct.pack("<I", 0xFFFFFFF0) + data[place + 4 :])
    np.testing.assert_allclose(measured(dicom.read, path).signal, counts * 0.0025, atol=1e-6)  # all there is


def test_no_ecg(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", [group(known_counts())], kind="HemodynamicWaveformStorage")
    with pytest.raises(DataError, match="no ECG waveform but Hemodynamic Waveform Storage"):
        dicom.read(str(path))
    path = write(tmp_path / "a.dcm", [])
    with pytest.raises(DataError, match="holds no waveform"):
        dicom.read(str(path))
    path.write_bytes(path.read_bytes()[128:])
    with pytest.raises(DataError, match="does not begin as a DICOM file"):
        dicom.read(str(path))


def test_what_is_deflated_may_become_of_any_size(tmp_path: Path) -> None:
    item = group(np.zeros((12, 200_000), np.int16))
    path = write(tmp_path / "a.dcm", [item], syntax="DeflatedExplicitVRLittleEndian")
    assert path.stat().st_size < 1 << 16
    with pytest.raises(DataError, match="is deflated"):
        measured(dicom.read, path)


@pytest.mark.parametrize("syntax", ("ExplicitVRLittleEndian", "ImplicitVRLittleEndian"))
def test_damaged_files(battery, tmp_path: Path, syntax: str) -> None:
    groups = [group(known_counts(3, 60), LEADS[:3], padding=-999), group(known_counts(3, 30), LEADS[:3], originality="DERIVED")]
    path = write(tmp_path / "a.dcm", groups, syntax=syntax)
    attack(battery(f"damaged DICOM waveforms, {syntax}", inputs=60, long=10_000), dicom.read, path, damaged)
