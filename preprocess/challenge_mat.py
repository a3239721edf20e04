"""What the files of the 2018 China Physiological Signal Challenge and of PhysioNet's challenges hold.

The original CPSC2018 recordings are MATLAB structs ``ECG`` with the fields ``sex``, ``age`` and ``data``: 12 leads in
millivolts at 500 Hz, 6 to 60 s. In PhysioNet's challenges, and in ecg-arrhythmia, recordings are WFDB records whose
headers end in comments on the patient and the diagnoses. Both copies of CPSC2018 have the same values: the latter
holds the former in steps of 0.001 mV.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.io import loadmat

from cmelt_plugin.data.leads import LEADS
from preprocess.recording import Recording, Rejected
from preprocess.wfdb_files import read_wfdb

CPSC_RATE = 500.0  # Hz
LEGACY_SECONDS = 5
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


def read_cpsc_mat(path: str) -> Recording:
    """Read an original CPSC2018 recording, ``[12, samples]`` mV at 500 Hz; ``.mat`` may be left off ``path``.

    Raises:
        Rejected: the file is missing, damaged, or holds something else.
    """
    data = _read_struct(path).get("data")
    if not isinstance(data, np.ndarray) or data.ndim != 2 or not np.issubdtype(data.dtype, np.number):
        raise Rejected("header", f"{Path(path).name}: its struct ECG holds no matrix data")
    if data.shape[0] != len(LEADS):
        raise Rejected("leads", f"{Path(path).name}: {data.shape[0]} rows where the 12 leads are expected")
    return Recording(data.astype(np.float64), LEADS, ["mV"] * len(LEADS), CPSC_RATE)


def read_cpsc_mat_5s(path: str) -> Recording:
    """:func:`read_cpsc_mat`, the first 5 s only."""
    return _first_seconds(read_cpsc_mat(path))


def read_wfdb_5s(path: str) -> Recording:
    """:func:`preprocess.wfdb_files.read_wfdb`, the first 5 s only."""
    return _first_seconds(read_wfdb(path))


def read_cpsc_patient(path: str | os.PathLike) -> Patient:
    """Sex and age in an original CPSC2018 recording; unknown where the file cannot be read, which is its reader's matter."""
    try:
        fields = _read_struct(str(path))
    except Rejected:
        return Patient()
    return Patient(_sex(fields.get("sex")), _age(fields.get("age")))


def read_header_patient(path: str | os.PathLike) -> Patient:
    """Sex, age and diagnoses in the comments of a WFDB header, whatever the state of its other lines.

    ``path`` is that of the header without ``.hea``. Everything is unknown where there is no such file.
    """
    try:
        text = Path(f"{path}.hea").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
        return Patient()
    found = {match["name"].lower(): match["value"].strip() for match in map(_COMMENT.match, text.splitlines()) if match}
    codes = tuple(dict.fromkeys(re.findall(r"\d+", found.get("dx", ""))))
    return Patient(_sex(found.get("sex")), _age(found.get("age")), codes)


def find_records(root: Path, name: str, suffix: str) -> list[tuple[str, str]]:
    """Files below ``root`` whose name is the regular expression ``name`` followed by ``suffix``.

    Returns:
        (name, path relative to ``root`` without ``suffix``), sorted by name and path.
    """
    pattern = re.compile(f"({name}){re.escape(suffix)}")
    found = []
    for folder, _, files in os.walk(root):
        place = os.path.relpath(folder, root)
        for match in filter(None, map(pattern.fullmatch, files)):
            found.append((match[1], os.path.normpath(os.path.join(place, match[1]))))
    return sorted(found)


def _first_seconds(recording: Recording) -> Recording:
    return recording._replace(signal=recording.signal[:, : math.ceil(LEGACY_SECONDS * recording.rate)])


def _read_struct(path: str) -> dict[str, Any]:
    file = Path(path) if path.endswith(".mat") else Path(f"{path}.mat")
    name = file.name
    try:
        with open(file, "rb") as handle:
            ecg = loadmat(handle, simplify_cells=True).get("ECG")
    except FileNotFoundError:
        raise Rejected("missing", f"{name}: No such file or directory") from None
    except (IsADirectoryError, PermissionError) as error:
        raise Rejected("unreadable", f"{name}: {error.strerror}") from None
    except OSError as error:
        if error.errno is not None:  # trouble of the machine, not of the recording
            raise
        raise Rejected("truncated", f"{name}: {error}") from None
    except Exception as error:  # damaged files raise a dozen kinds of exception
        raise Rejected("unreadable", f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(ecg, dict):
        raise Rejected("header", f"{name}: holds no struct ECG; a copy in WFDB format needs its .hea files")
    return ecg


def _sex(value: Any) -> str:
    return _SEX.get(str(value).strip().lower(), "")


def _age(value: Any) -> float:
    try:
        age = float(value)
    except (TypeError, ValueError):
        return math.nan
    return age if 0 <= age <= 120 else math.nan
