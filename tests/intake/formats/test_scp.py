"""SCP-ECG: real files, twins in every encoding, compressions that are refused, and damage with checksums that are right."""

from __future__ import annotations

import struct
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from format_files import attack, check_agreement, known_counts, measured, real_file

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.formats import scp
from tests.data.readers.test_fuzzing import damaged
from tests.intake.writers.scp import default_code, field, packed, resealed, sections_of, write

REAL = (
    "ecgtoolkit_example",
    "welchallyn_600hz_2007_anon",
    "welchallyn_600hz_2017_test",
    "demo_raw_8lead",
    "contec_0000050_raw_limb_only",
)


@pytest.mark.parametrize("name", REAL)
def test_real_files(real_data: Path, name: str) -> None:
    path, expected = real_file(real_data, f"scp/{name}.scp")
    assert scp.matches(path.read_bytes()[:4096], "")
    check_agreement(scp.read(str(path)), expected)


def test_facts_of_real_files(real_data: Path) -> None:
    recording = scp.read(str(real_file(real_data, "scp/ecgtoolkit_example.scp")[0]))
    assert (recording.start, recording.sex, recording.age) == (datetime(2002, 11, 22, 9, 10), "M", 49.54)
    assert recording.device == "ECGConversion ELI250"
    cut = scp.read(str(real_file(real_data, "scp/contec_0000050_raw_limb_only.scp")[0]))
    assert "37855 samples of a lead and has 32767" in cut.notes[0]
    # Anonymised into nonsense: no such day, no such sex.
    blank = scp.read(str(real_file(real_data, "scp/welchallyn_600hz_2007_anon.scp")[0]))
    assert (blank.start, blank.sex) == (None, None)


def test_a_file_that_does_not_conform_is_refused(real_data: Path) -> None:
    path, _ = real_file(real_data, "scp/healforce_nonconforming_62.scp")
    assert not scp.matches(path.read_bytes()[:4096], "") and scp.matches(path.read_bytes()[:4096], str(path))
    with pytest.raises(DataError, match="healforce.*no mark SCPECG.*EN 1064"):
        scp.read(str(path))


@pytest.mark.parametrize("difference", (0, 1, 2))
@pytest.mark.parametrize("coded", (False, True))
def test_twins(tmp_path: Path, difference: int, coded: bool) -> None:
    counts = known_counts()
    counts[3, 100:120] = -3000  # steps that need 16 bits
    options = {} if coded else {"table": None}
    path = write(tmp_path / "a.scp", sections_of(counts, difference=difference, **options))
    recording = scp.read(str(path))
    assert recording.leads == LEADS and recording.sample_rate == 500
    np.testing.assert_allclose(recording.signal, counts * 0.0025, atol=1e-6)


def test_tables_of_the_file_itself_and_their_switches(tmp_path: Path) -> None:
    # Table 1: 0 = 0, 10 = go on with table 2. Table 2: 0 and 16 bits, 10 = 7, 11 = go on with table 1.
    structure = struct.Struct("<BBBhI")
    first = structure.pack(1, 1, 1, 0, 0) + structure.pack(2, 2, 0, 2, 0b01)
    second = structure.pack(1, 17, 1, 0, 0) + structure.pack(2, 2, 1, 7, 0b01) + structure.pack(2, 2, 0, 1, 0b11)
    table = struct.pack("<HH", 2, 2) + first + struct.pack("<H", 3) + second

    def encode(values: np.ndarray) -> bytes:
        words = []
        for value in values.tolist():
            words.append("0" if value == 0 else "10" + ("10" if value == 7 else f"0{value & 0xFFFF:016b}") + "11")
        return packed("".join(words))

    counts = known_counts(2, 50)
    counts[0, 10:20], counts[1, 5:9] = 0, 7
    path = write(tmp_path / "a.scp", sections_of(counts, table=table, encode=encode))
    np.testing.assert_allclose(scp.read(str(path)).signal, counts * 0.0025, atol=1e-6)


def test_leads_of_different_times(tmp_path: Path) -> None:
    counts = known_counts(4, 100)
    path = write(tmp_path / "a.scp", sections_of(counts, starts=(1, 1, 101, 101)))
    recording = scp.read(str(path))
    assert recording.signal.shape == (4, 200) and "not recorded at the same time" in recording.notes[0]
    assert np.isnan(recording.signal[:2, 100:]).all() and np.isnan(recording.signal[2:, :100]).all()
    np.testing.assert_allclose(recording.signal[2:, 100:], counts[2:] * 0.0025, atol=1e-6)


def test_facts(tmp_path: Path) -> None:
    facts = field(4, struct.pack("<HB", 6, 2)) + field(8, b"\x02") + field(25, struct.pack("<HBB", 2020, 2, 29))
    facts += field(26, bytes([23, 5, 6])) + field(27, b"\x05\x00") + field(28, b"\x96\x00") + field(29, b"\x02")
    recording = scp.read(str(write(tmp_path / "a.scp", sections_of(known_counts(), facts=facts))))
    assert recording.start == datetime(2020, 2, 29, 23, 5, 6)
    assert (recording.sex, recording.age) == ("F", 0.5)
    assert recording.filters == "high-pass 0.05 Hz, low-pass 150 Hz, 50 Hz notch"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"flags": 0x65}, "reference beat subtraction"),
        ({"bimodal": 1}, "bimodal compression"),
        ({"quantum": 0}, "0 nV"),
        ({"interval": 0}, "0 µs"),
        ({"difference": 3}, "difference 3"),
        ({"numbers": (1,) * 12}, "same lead twice"),
        ({"starts": (1,) * 11 + (2**31,)}, "announced"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict, reason: str) -> None:
    path = write(tmp_path / "a.scp", sections_of(known_counts(), **change))
    with pytest.raises(DataError, match=reason):
        measured(scp.read, path)


def test_more_samples_announced_than_there_are(tmp_path: Path) -> None:
    for options in ({"table": None}, {"encode": lambda values: default_code(values)[:100]}):
        sections = sections_of(known_counts(), **options)
        sections[3] = sections[3][:2] + b"".join(struct.pack("<IIB", 1, 2**31, number) for number in range(1, 13))
        with pytest.raises(DataError, match="announced|decoded"):
            measured(scp.read, write(tmp_path / "a.scp", sections))
    with pytest.raises(DataError, match="of 600 samples of a lead can be decoded"):
        scp.read(str(write(tmp_path / "a.scp", sections_of(known_counts(), encode=lambda values: default_code(values)[:100]))))


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.scp", sections_of(known_counts()))
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="checksum of the file"):
        scp.read(str(path))


def sealed_damage(data: bytes, random: np.random.Generator) -> bytes:
    """Mostly with checksums that are right, which else hide what lies behind them."""
    return resealed(damaged(data, random)) if random.random() < 0.9 else damaged(data, random)


@pytest.mark.parametrize("options", ({"difference": 2}, {"table": None}), ids=("coded", "raw"))
def test_damaged_files(battery, tmp_path: Path, options: dict) -> None:
    path = write(tmp_path / "a.scp", sections_of(known_counts(12, 120), facts=field(8, b"\x01"), **options))
    kind = "raw" if "table" in options else "coded"
    attack(battery(f"damaged SCP-ECG files, {kind}", inputs=60, long=10_000), scp.read, path, sealed_damage)
