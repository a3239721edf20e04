"""What the files of the 2018 China Physiological Signal Challenge and of PhysioNet's challenges hold.

The original CPSC2018 recordings are MATLAB structs ``ECG`` with the fields ``sex``, ``age`` and ``data``: 12 leads in
millivolts at 500 Hz, 6 to 60 s. In PhysioNet's challenges, and in ecg-arrhythmia, recordings are WFDB records whose
headers end in comments on the patient and the diagnoses. Both copies of CPSC2018 have the same values: the latter
holds the former in units of 0.001 mV.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.contract import ALL, Crop, Reading, Recording, Rejected, read_file, reader, takes_reading
from cmelt_plugin.data.readers.matlab import MatFile
from cmelt_plugin.data.readers.wfdb_header import HEADER_BYTES, decode_lines
from cmelt_plugin.data.readers.wfdb_records import read_wfdb

CPSC_RATE = 500.0  # Hz
LEGACY_SECONDS = 5
_FIRST_5S = Reading(Crop(LEGACY_SECONDS))
_SEX = {"male": "M", "m": "M", "female": "F", "f": "F"}
_COMMENT = re.compile(r"#\s*(?P<name>Age|Sex|Dx)\s*:\s*(?P<value>.*)", re.IGNORECASE)


class Patient(NamedTuple):
    """What a recording says of its patient."""

    sex: str = ""
    """"F", "M" or "" = unknown."""
    age: float = math.nan
    """Years, NaN = unknown."""
    codes: Sequence[str] = ()
    """SNOMED CT codes of the diagnoses, in the header's order."""


@takes_reading
@reader
def read_cpsc_mat(path: str, reading: Reading = ALL) -> Recording:
    """Read an original CPSC2018 recording, ``[12, samples]`` mV at 500 Hz; ``.mat`` may be left off ``path``.

    Raises:
        Rejected: the file is missing, damaged, or holds something else.
        OSError, MemoryError: trouble of the machine.
    """
    data = _read_struct(path).get("data")
    if not isinstance(data, np.ndarray) or data.ndim != 2 or not data.size:
        raise Rejected("header", f"{Path(path).name}: its struct ECG holds no matrix data")
    if data.shape[0] != len(LEADS):
        raise Rejected("leads", f"{Path(path).name}: {data.shape[0]} rows where the 12 leads are expected")
    start, stop = reading.span(data.shape[1], CPSC_RATE)
    signal = np.array(data[:, start:stop], dtype=np.float64, order="C")
    return Recording(signal, LEADS, ["mV"] * len(LEADS), CPSC_RATE, reading.total(data.shape[1]))


@takes_reading
def read_cpsc_mat_5s(path: str, reading: Reading = ALL) -> Recording:
    """:func:`read_cpsc_mat`, the first 5 s only."""
    return read_cpsc_mat(path, _FIRST_5S)._replace(samples=None)


@takes_reading
def read_wfdb_5s(path: str, reading: Reading = ALL) -> Recording:
    """:func:`cmelt_plugin.data.readers.wfdb_records.read_wfdb`, the first 5 s only."""
    return read_wfdb(path, reading._replace(part=_FIRST_5S.part))._replace(samples=None)


def read_cpsc_patient(path: str | os.PathLike) -> Patient:
    """Sex and age in an original CPSC2018 recording; unknown where the file cannot be read, which is its reader's matter."""
    try:
        fields = _read_struct(str(path))
    except Rejected:
        return Patient()
    return Patient(_sex(fields.get("sex")), _age(fields.get("age")))


def read_header_patient(path: str | os.PathLike) -> Patient:
    """Sex, age and diagnoses in the comments of a WFDB header, whatever the state of its other lines.

    ``path`` is that of the header without ``.hea``. Where it cannot be read, everything is unknown; saying so is the
    reader's matter.
    """
    text = "\n".join(header_lines(path))
    comments = {match["name"].lower(): match["value"].strip() for match in map(_COMMENT.match, text.splitlines()) if match}
    codes = tuple(dict.fromkeys(re.findall(r"\d+", comments.get("dx", ""))))
    return Patient(_sex(comments.get("sex")), _age(comments.get("age")), codes)


def header_lines(path: str | os.PathLike) -> list[str]:
    """Lines of ``path.hea``; none where it cannot be read.

    Raises:
        OSError, MemoryError: trouble of the machine.
    """
    try:
        return _header_lines(path)
    except Rejected:
        return []


@reader
def _header_lines(path: str | os.PathLike) -> list[str]:
    return decode_lines(read_file(f"{os.fspath(path)}.hea", HEADER_BYTES))


@reader
def _read_struct(path: str) -> dict[str, Any]:
    file = path if path.endswith(".mat") else f"{path}.mat"
    with MatFile(file) as opened:
        ecg = opened.read("ECG") if "ECG" in opened.variables else None
    if not isinstance(ecg, dict):
        raise Rejected("header", f"{Path(file).name}: holds no struct ECG; a copy in WFDB format needs its .hea files")
    return ecg


def _sex(value: Any) -> str:
    return _SEX.get(str(value).strip().lower(), "")


def _age(value: Any) -> float:
    try:
        age = float(value.item() if isinstance(value, np.ndarray) else value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return age if 0 <= age <= 120 else math.nan
