"""One WFDB record as millivolts, for those who have a recording and no manifest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cmelt_plugin.data.readers.contract import MILLIVOLTS, Crop, Reading, Rejected
from cmelt_plugin.data.readers.wfdb_header import NO_UNIT
from cmelt_plugin.data.readers.wfdb_records import WRONG_CHECKSUM, read_wfdb
from cmelt_plugin.errors import DataError

_SUFFIXES = (".hea", ".dat", ".mat")


class WFDBRecord(NamedTuple):
    """A recording with what its header says.

    Attributes:
        signal: float64 ``[leads, samples]``, mV; NaN where the file has no value.
        leads: names, in the order of the rows.
        sample_rate: Hz.
        assumed: what the header does not say, and what of it is wrong but accepted, in sentences.
    """

    signal: np.ndarray
    leads: Sequence[str]
    sample_rate: float
    assumed: Sequence[str] = ()


def record_stem(path: str | os.PathLike) -> str:
    """Path of a record without the suffix of its header or signal file."""
    text = os.fspath(path)
    return next((text[: -len(suffix)] for suffix in _SUFFIXES if text.endswith(suffix)), text)


def read_record(path: str | os.PathLike, crop: Crop | None = None, accept_wrong_checksums: bool = False) -> WFDBRecord:
    """Read a WFDB record; leads, units and sample rate come from its header. The reader is that of packing.

    Args:
        path: of the record, with or without ``.hea``.
        crop: the part to read; None = all of it.
        accept_wrong_checksums: do not refuse a record whose header has other checksums than its samples.

    Raises:
        DataError: header or signal file are missing, unreadable or contradict each other, or a lead's unit is not one of V,
            mV, uV, nV.
        OSError, MemoryError: trouble of the machine.
    """
    stem = record_stem(path)
    try:
        recording = read_wfdb(stem, Reading(crop, accept_wrong_checksums))
    except Rejected as reason:
        if reason.code == "missing" and not os.path.lexists(f"{stem}.hea"):
            raise DataError(f"{path}: no such WFDB record ({os.path.basename(stem)}.hea is missing)") from None
        raise DataError(f"{os.fspath(path)}: {reason}") from None
    if not recording.signal.shape[1]:
        raise DataError(f"{path}: the record holds no signal")
    factors = [MILLIVOLTS.get(unit.strip().lower()) for unit in recording.units]
    for lead, unit, factor in zip(recording.leads, recording.units, factors):
        if factor is None:
            raise DataError(f"{path}: lead {lead} is in {unit!r}, not in V, mV, uV or nV")
    assumed = [note for note in recording.notes if note in (NO_UNIT, WRONG_CHECKSUM)]
    return WFDBRecord(recording.signal * np.array(factors)[:, None], recording.leads, recording.rate, assumed)
