"""WFDB records: a header, and the files of samples beside it that it names."""

from __future__ import annotations

import math
import os
import re
from datetime import datetime

from cmelt_plugin.data.readers.challenge_files import header_lines, read_header_patient
from cmelt_plugin.data.readers.contract import ALL, Reading, takes_reading
from cmelt_plugin.data.readers.record_paths import record_stem
from cmelt_plugin.data.readers.wfdb_records import read_wfdb
from cmelt_plugin.intake.calibration import in_millivolts
from cmelt_plugin.intake.patient_facts import moment
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.refusal import refusing

# The fields of a record line: name, signals, rate, samples, time, date.
_COMMENT = re.compile(r"#\s*(Device|Filters)\s*:\s*(.*)")
_START = re.compile(r"(?:\S+\s+){4}(\d{1,2}):(\d\d):(\d\d)(?:\.\d*)?\s+(\d{1,2})/(\d{1,2})/(\d{4})\b", re.ASCII)


def matches(head: bytes, path: str) -> bool:
    return bool(path) and os.path.isfile(f"{record_stem(path)}.hea")


@takes_reading
@refusing("a WFDB record")
def read(path: str, reading: Reading = ALL) -> Recording:
    """Read a record, or the part of it that is wanted.

    ``path`` is that of the header, with or without ``.hea``, or of its file of samples.

    Raises:
        DataError: as :func:`cmelt_plugin.data.readers.wfdb_records.read_wfdb`.
    """
    stem = record_stem(path)
    found = read_wfdb(stem, reading)
    signal, leads, notes = in_millivolts(path, found)
    patient = read_header_patient(stem)
    comments = {match[1]: match[2] for match in map(_COMMENT.match, header_lines(stem)) if match}
    return Recording(
        signal,
        found.rate,
        leads,
        start=_start(stem),
        sex=patient.sex or None,
        age=None if math.isnan(patient.age) else patient.age,
        device=comments.get("Device", "").strip(),
        filters=comments.get("Filters", "").strip(),
        notes=notes,
        samples=found.samples,
    )


def _start(stem: str) -> datetime | None:
    lines = (line.strip() for line in header_lines(stem))
    found = _START.match(next((line for line in lines if line and line[0] != "#"), ""))
    if found is None:
        return None
    hour, minute, second, day, month, year = map(int, found.groups())
    return moment(year, month, day, hour, minute, second)
