"""WFDB records through the one door: what no recorder can have written, and damage to header and samples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import wfdb
from format_files import attack, known_counts, measured
from text_damage import damaged_text

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.reading import read_ecg
from tests.data.readers.test_fuzzing import damaged, write_wfdb

_SUMS = re.compile(rb"^(\w+\.dat(?: \S+){4}) -?\d+ -?\d+", re.MULTILINE)


def write(folder: Path, form: int) -> Path:
    """A record of twelve leads; its header. 516 is FLAC of 16 bits, in two files, because none has more than eight channels."""
    if form == 516:
        pytest.importorskip("soundfile", reason="soundfile is not installed: pip install 'cmelt-plugin[files]'")
        options = {"fs": 500, "units": ["mV"] * 12, "sig_name": list(LEADS), "fmt": ["516"] * 12}
        wfdb.wrsamp("a", d_signal=known_counts().T, adc_gain=[400.0] * 12, baseline=[0] * 12, write_dir=str(folder), **options)
    else:
        write_wfdb(folder, form, 0)
    return folder / "a.hea"


def unsealed(header: bytes) -> bytes:
    """A header whose checksums and initial values are all 0, which are not compared with the samples."""
    return _SUMS.sub(rb"\1 0 0", header)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((" 500 ", " 0.01 "), "a sample rate of 0.01 Hz"),
        ((" 500 ", " 5e20 "), r"a sample rate of 5e\+20 Hz"),
        (("200(3)", "0.0001(3)"), "samples beyond 10 V"),
    ],
)
def test_what_no_recorder_has_written_is_refused(tmp_path: Path, change: tuple[str, str], reason: str) -> None:
    header = write(tmp_path, 16)
    header.write_text(header.read_text().replace(*change))
    with pytest.raises(DataError, match=reason):
        measured(read_ecg, header)


@pytest.mark.parametrize("form", (16, 212, 516), ids=("16", "212", "flac"))
def test_damaged_files(battery, tmp_path: Path, form: int) -> None:
    header = write(tmp_path, form)
    header.write_bytes(unsealed(header.read_bytes()))
    assert b" 0 0 0 aVF" in header.read_bytes()
    assert read_ecg(str(header)).signal.shape == (12, 600)
    name = f"damaged WFDB records, {'FLAC' if form == 516 else form}"
    attack(
        battery(name, inputs=60, long=10_000),
        read_ecg,
        header,
        damaged_text,
        dict.fromkeys(sorted(tmp_path.glob("*.dat")), damaged),
    )
