"""Arrays of numbers in MATLAB, NumPy, HDF5 and text files, which say little of themselves: a JSON file beside them does.

``ecg.json`` describes ``ecg.npy``, ``ecg.mat``, ``ecg.h5``, ``ecg.csv`` and so on::

    {"sample_rate": 500, "unit": "mV", "leads": ["I", "II", "III"], "sex": "F", "age": 61, "variable": "tracings"}

The first two must be there, and ``leads`` where a table has no headings; where it has, both must name the same. It may say
``start`` (ISO 8601), ``device`` and ``filters``, too, and nothing else: a key that is not known, such as a gain, might change
what the numbers mean. Structs of CPSC2018 need no description: their rate, unit and leads are documented.
"""

from __future__ import annotations

import json
import math
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.arrays import ARRAYS, TEXT, ArrayReader, Place
from cmelt_plugin.data.readers.challenge_files import read_cpsc_mat, read_cpsc_patient
from cmelt_plugin.data.readers.contract import ALL, MILLIVOLTS, Reading, Rejected, file_name, one_line, read_file, takes_reading
from cmelt_plugin.intake.calibration import in_millivolts
from cmelt_plugin.intake.patient_facts import plausible_age
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.refusal import refuse, refusing

if TYPE_CHECKING:
    from typing import TypeGuard  # Python 3.10

LARGEST_DESCRIPTION = 1 << 20  # bytes
KEYS = ("sample_rate", "unit", "leads", "variable", "start", "sex", "age", "device", "filters")
EXAMPLE = '{"sample_rate": 500, "unit": "mV", "leads": ["I", "II", ...]}'


def matches(head: bytes, path: str) -> bool:
    return Place.parse(path).file.lower().endswith(ARRAYS)


@takes_reading
@refusing("an array")
def read(path: str, reading: Reading = ALL) -> Recording:
    """Read a recording, or the part of it that is wanted.

    ``path`` is a file, or one of many in it: ``FILE:VARIABLE``, ``FILE[ROW]``, ``FILE:VARIABLE[ROW]``.

    Raises:
        DataError: rate, unit or leads are not known, or the file cannot be read.
    """
    place = Place(path) if os.path.isfile(path) else Place.parse(path)
    suffix = os.path.splitext(place.file)[1]
    beside = description_of(place.file)
    if not os.path.isfile(beside):
        if suffix.lower() == ".mat":
            return _cpsc(path, place.file, reading)
        refuse(path, "does not say its sample rate, unit and leads", f"write them into {beside}: {EXAMPLE}")
    given = json.loads(read_file(beside, LARGEST_DESCRIPTION))
    rate, unit, leads = _described(beside, given, suffix)
    array_reader = ArrayReader(leads, unit, rate=rate, variable=str(given.get("variable", "")))
    try:
        found = array_reader(place.encode(), reading)
    except Rejected as error:
        if error.code != "leads":
            raise
        refuse(path, str(error).removeprefix(f"leads: {file_name(place.file)}: "), f"compare it with {beside}")
    signal, names, notes = in_millivolts(path, found)
    age = given.get("age")
    return Recording(
        signal,
        found.rate,
        names,
        start=_start(given.get("start")),
        device=one_line(given.get("device") or ""),
        filters=one_line(given.get("filters") or ""),
        sex=given["sex"] if given.get("sex") in ("F", "M") else None,
        age=plausible_age(age) if _is_number(age) else None,
        notes=notes,
        samples=found.samples,
    )


def description_of(file: str) -> str:
    """Where the description of an array must lie."""
    return f"{os.path.splitext(file)[0]}.json"


def _described(beside: str, given: Any, suffix: str) -> tuple[float, str, tuple[str, ...]]:
    """Rate, unit and leads of a description."""
    if not isinstance(given, dict):
        refuse(beside, "is no description of a recording", f"write it as {EXAMPLE}")
    unknown = [repr(key) for key in given if key not in KEYS]
    if unknown:
        refuse(beside, f"{', '.join(unknown[:10])} is not known", f"it may say {', '.join(KEYS)}")
    rate, unit, leads = given.get("sample_rate"), given.get("unit"), given.get("leads", [])
    if not _is_number(rate) or not 0 < rate < 1e6:
        refuse(beside, f"sample_rate is {rate!r}", "give it in Hz, as a number")
    if not isinstance(unit, str) or unit.lower() not in MILLIVOLTS:
        refuse(beside, f"unit is {unit!r}", f"give one of {', '.join(MILLIVOLTS)}")
    if not isinstance(leads, list) or not all(isinstance(lead, str) for lead in leads) or not (leads or suffix.lower() in TEXT):
        refuse(beside, "leads are not named", "list their names in the order of the array")
    return float(rate), unit, tuple(leads)


def _start(text: Any) -> datetime | None:
    """A moment of ISO 8601; None where it is none."""
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _cpsc(path: str, file: str, reading: Reading) -> Recording:
    """A recording of CPSC2018."""
    found = read_cpsc_mat(file, reading)
    patient = read_cpsc_patient(file)
    signal, _, notes = in_millivolts(path, found)
    age = None if math.isnan(patient.age) else patient.age
    return Recording(signal, found.rate, LEADS, sex=patient.sex or None, age=age, notes=notes, samples=found.samples)
