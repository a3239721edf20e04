"""One WFDB record as millivolts, for those who have a recording and no manifest."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cmelt_plugin.errors import DataError

# Millivolts per unit, by the lower-case unit. Both of Unicode's micro signs occur.
MILLIVOLTS = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "\u00b5v": 1e-3, "\u03bcv": 1e-3, "nv": 1e-6}
_SUFFIXES = (".hea", ".dat", ".mat")


class WFDBRecord(NamedTuple):
    """A recording with what its header says.

    Attributes:
        signal: float64 ``[leads, samples]``, mV; NaN where the file has no value.
        leads: names, in the order of the rows.
        sample_rate: Hz.
    """

    signal: np.ndarray
    leads: Sequence[str]
    sample_rate: float


def record_stem(path: str | os.PathLike) -> str:
    """Path of a record without the suffix of its header or signal file."""
    text = os.fspath(path)
    return next((text[: -len(suffix)] for suffix in _SUFFIXES if text.endswith(suffix)), text)


def read_record(path: str | os.PathLike) -> WFDBRecord:
    """Read a WFDB record; leads, units and sample rate come from its header.

    Args:
        path: of the record, with or without ``.hea``.

    Raises:
        DataError: header or signal file are missing or unreadable, or a lead's unit is not one of V, mV, uV, nV.
    """
    import wfdb

    stem = record_stem(path)
    if not Path(f"{stem}.hea").is_file():
        raise DataError(f"{path}: no such WFDB record ({Path(stem).name}.hea is missing)")
    try:
        record = wfdb.rdrecord(os.path.abspath(stem))
    except OSError as error:
        name = Path(error.filename).name if error.filename else Path(stem).name
        raise DataError(f"{path}: {name}: {error.strerror or error}") from None
    except Exception as error:  # damaged files raise a dozen kinds of exception
        detail = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: unreadable WFDB record ({type(error).__name__}: {detail})") from None
    if record.p_signal is None or not len(record.p_signal):
        raise DataError(f"{path}: the record holds no signal of a fixed rate")
    leads, units = list(record.sig_name), repair_units(stem, record.units)
    factors = [MILLIVOLTS.get(str(unit).strip().lower()) for unit in units]
    for lead, unit, factor in zip(leads, units, factors):
        if factor is None:
            raise DataError(f"{path}: lead {lead} is in {unit!r}, not in V, mV, uV or nV")
    return WFDBRecord(record.p_signal.T * np.array(factors)[:, None], leads, float(record.fs))


def repair_units(stem: str, units: Sequence[str]) -> Sequence[str]:
    """Restore the micro signs which wfdb drops: it would take a lead in microvolts for one in volts."""
    if "V" not in units:
        return units
    data = Path(f"{stem}.hea").read_bytes()
    if data.isascii():
        return units
    lines = [line for line in data.decode("latin-1").splitlines() if line.strip() and not line.startswith("#")]
    # As Latin-1, the micro sign of either encoding ends in byte B5 or BC.
    return ["uV" if re.search("/\\S{0,2}[\xb5\xbc]V", line) else unit for line, unit in zip(lines[1:], units)]
