"""HL7's annotated ECG (``AnnotatedECG``, XML): leads as lists of digits with origin and scale, named by MDC codes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from cmelt_plugin.data.lead_codes import lead_name
from cmelt_plugin.data.readers.contract import MILLIVOLTS, check_array
from cmelt_plugin.intake.numerals import number
from cmelt_plugin.intake.patient_facts import age_between, moment, plausible_age
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.refusal import refuse, refusing
from cmelt_plugin.intake.waveforms import Rows, assemble, resolution
from cmelt_plugin.intake.xml_files import numbers_at, read_xml, root_name

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
MOST_SETS = 100
MISSING = (-32768, 32767)
"""Digits by which writers whose samples have 16 bits mark those that they do not have."""
REPORTED_AGE = "21612-7"  # LOINC
LEAD = "MDC_ECG_LEAD_"
FILTER = "MDC_ECG_CTL_VBL_ATTR_FILTER_"

_SUBJECT = "componentOf/timepointEvent/componentOf/subjectAssignment/subject/trialSubject/subjectDemographicPerson"


def matches(head: bytes, path: str | os.PathLike) -> bool:
    """Whether the first bytes of a file are an annotated ECG."""
    return root_name(head) == "AnnotatedECG"


@refusing("an HL7 annotated ECG")
def read(path: str) -> Recording:
    """The first rhythm of a file; derived beats and annotations are left out.

    Raises:
        DataError: the file is damaged, has no rhythm or one of less than a second.
    """
    root = read_xml(path)
    every = [series for series in root.iterfind("component/series") if _code(series) == "RHYTHM"]
    if not every:
        refuse(path, "has no series of code RHYTHM", "export the recording with its waveforms")
    series = every[0]
    sets = series.findall("component/sequenceSet")
    if not sets:
        refuse(path, "its rhythm has no waveforms", "export the recording with its waveforms")
    if len(sets) > MOST_SETS:
        refuse(path, f"its rhythm has {len(sets):,} sets of sequences, at most {MOST_SETS} are read")
    parts = [part for part in (_part(path, one) for one in sets) if part.rows]
    if not parts:
        refuse(path, "has no lead", "export the recording with its waveforms")
    first = parts[0]
    if not first.rate:
        refuse(path, "does not say at which times its samples were taken")
    rows, left = _placed(path, parts)
    gaps = sum(int(np.isnan(row).sum()) for row in rows.values())
    others = len(every) - 1
    start = _start(series) or _start(root)
    return assemble(
        path,
        rows,
        round(first.rate, 6),  # the inverse of an increment is not exact
        start=start,
        sex=_sex(root),
        age=_age(root, start),
        device=" ".join(filter(None, (_first(series, "author//manufacturerOrganization/name"), _model(series)))),
        filters=", ".join(_filters(series)),
        notes=(
            *((f"{others} further rhythms were left out.",) if others else ()),
            *((f"Left out: {', '.join(left[:12])} of another rate or time.",) if left else ()),
            *((f"{gaps} samples are missing.",) if gaps else ()),
        ),
    )


class _Part(NamedTuple):
    """A set of sequences that were recorded together.

    Attributes:
        rate: Hz; 0: not said.
        start: of its first sample, seconds from any moment; None: not said.
        rows: by lead, mV, NaN = missing.
    """

    rate: float
    start: float | None
    rows: Rows


def _part(path: str, sequences: Element) -> _Part:
    rate, start = 0.0, None
    rows: Rows = {}
    for sequence in sequences.iterfind("component/sequence"):
        code, value = _code(sequence), sequence.find("value")
        if value is None:
            refuse(path, f"its sequence {code} has no value")
        if code in ("TIME_ABSOLUTE", "TIME_RELATIVE"):
            increment = _quantity(value, "increment", SECONDS)
            if not increment > 0:
                refuse(path, f"its samples are {increment:g} s apart")
            rate, start = 1 / increment, _head(value)
        elif code.startswith(LEAD):
            name = lead_name(code[len(LEAD) :])
            if name in rows:
                refuse(path, f"holds lead {name} twice")
            rows[name] = _millivolts(path, value)
    return _Part(rate, start, rows)


def _head(value: Element) -> float | None:
    """When a sequence of times begins, in seconds: of a clock, or of the recording; None where it is not said."""
    head = value.find("head")
    text = "" if head is None else head.get("value", "")
    if head is not None and head.get("unit", "").lower() in SECONDS:
        return number(text, "head") * SECONDS[head.get("unit", "").lower()]
    match = re.match(r"(\d{14})(\.\d+)?", text, re.ASCII)
    found = _moment(match[1]) if match else None
    return None if match is None or found is None else (found - datetime(1900, 1, 1)).total_seconds() + float(match[2] or 0)


def _placed(path: str, parts: Sequence[_Part]) -> tuple[Rows, list[str]]:
    """The leads of all parts where they stand in time, NaN elsewhere; and those that were left out.

    Left out is what has another rate than the first part, no time, a time further off than all parts are long, or a lead where
    it has samples already.
    """
    first, left = parts[0], []
    longest = sum(max(map(len, part.rows.values())) for part in parts)
    found: list[tuple[str, int, np.ndarray]] = [(lead, 0, row) for lead, row in first.rows.items()]
    for part in parts[1:]:
        known = None not in (part.start, first.start) and abs(part.rate - first.rate) < 1e-6 * first.rate
        offset = round((part.start - first.start) * first.rate) if known else longest + 1  # type: ignore[operator]
        for lead, row in part.rows.items():
            if abs(offset) > longest or any(
                lead == other and offset < begin + len(there) and begin < offset + len(row) for other, begin, there in found
            ):
                left.append(lead)
            else:
                found.append((lead, offset, row))
    if len(found) == len(first.rows):
        return first.rows, left
    begin = min(offset for _, offset, _ in found)
    length = max(offset + len(row) for _, offset, row in found) - begin
    leads = list(dict.fromkeys(lead for lead, _, _ in found))
    check_array(path, length * len(leads))
    rows = {lead: np.full(length, np.nan) for lead in leads}
    for lead, offset, row in found:
        rows[lead][offset - begin : offset - begin + len(row)] = row
    return rows, left


def _code(element: Element) -> str:
    code = element.find("code")
    return "" if code is None else code.get("code", "")


def _quantity(value: Element, name: str, units: dict[str, float]) -> float:
    """The number of element ``name``, in the unit that ``units`` count in.

    Raises:
        ValueError: there is none, or it has another unit.
    """
    element = value.find(name)
    unit = "" if element is None else element.get("unit", "")
    if element is None or unit.lower() not in units:
        raise ValueError(f"{name} is in {unit or 'no unit'}, not in {', '.join(units)}")
    return number(element.get("value", ""), name) * units[unit.lower()]


def _millivolts(path: str, value: Element) -> np.ndarray:
    """Samples of one lead; NaN where they are marked as missing."""
    origin, bit = _quantity(value, "origin", MILLIVOLTS), _quantity(value, "scale", MILLIVOLTS)
    digits = numbers_at(value, "digits", " ")
    samples = origin + digits * resolution(path, bit * 1000)
    if digits.size and MISSING[0] <= digits.min() and digits.max() <= MISSING[1]:
        samples[np.isin(digits, MISSING)] = np.nan
    return samples


def _first(element: Element, path: str) -> str:
    found = element.find(path)
    return " ".join((found.text or "").split()) if found is not None else ""


def _model(series: Element) -> str:
    return _first(series, "author//manufacturedSeriesDevice/manufacturerModelName")


def _moment(stamp: str) -> datetime | None:
    """A time as HL7 writes it: digits from the year to the second, as many as are known, to the day at least."""
    match = re.match(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?", stamp, re.ASCII)
    return moment(*(int(digits or 0) for digits in match.groups())) if match else None


def _start(element: Element) -> datetime | None:
    for name in ("low", "center"):
        bound = element.find(f"effectiveTime/{name}")
        if bound is not None:
            return _moment(bound.get("value", ""))
    return None


def _sex(root: Element) -> str | None:
    gender = root.find(f"{_SUBJECT}/administrativeGenderCode")
    code = "" if gender is None else gender.get("code", "")
    return code if code in ("F", "M") else None


def _age(root: Element, start: datetime | None) -> float | None:
    for observation in root.iter("relatedObservation"):
        value = observation.find("value")
        if _code(observation) == REPORTED_AGE and value is not None and value.get("unit") == "a" and value.get("value"):
            return plausible_age(number(value.get("value", ""), "the reported age"))
    birth = root.find(f"{_SUBJECT}/birthTime")
    return None if birth is None else age_between(_moment(birth.get("value", "")), start)


def _filters(series: Element) -> Iterator[str]:
    """Every filter of the device with what is said of it."""
    for outer in series.iterfind("controlVariable/controlVariable"):
        code = _code(outer)
        if not code.startswith(FILTER):
            continue
        words = [code[len(FILTER) :].lower().replace("_", "-")]
        for value in outer.iterfind("component/controlVariable/value"):
            words += [value.get("value", ""), value.get("unit", ""), (value.text or "").strip()]
        yield " ".join(filter(None, words))
