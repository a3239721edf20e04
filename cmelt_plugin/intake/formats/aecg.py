"""HL7's annotated ECG (``AnnotatedECG``, XML): leads as lists of digits with origin and scale, named by MDC codes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from xml.etree.ElementTree import Element

import numpy as np

from cmelt_plugin.data.lead_codes import lead_name
from cmelt_plugin.data.readers.contract import MILLIVOLTS
from cmelt_plugin.intake.numerals import number
from cmelt_plugin.intake.patient_facts import age_between, moment, plausible_age
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.refusal import refuse, refusing
from cmelt_plugin.intake.waveforms import Rows, assemble, resolution
from cmelt_plugin.intake.xml_files import numbers_at, read_xml, root_name

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
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
    rate, gaps = 0.0, 0
    rows: Rows = {}
    for sequence in sets[0].iterfind("component/sequence"):
        code, value = _code(sequence), sequence.find("value")
        if value is None:
            refuse(path, f"its sequence {code} has no value")
        if code in ("TIME_ABSOLUTE", "TIME_RELATIVE"):
            rate = 1 / _quantity(value, "increment", SECONDS)
        elif code.startswith(LEAD):
            name = lead_name(code[len(LEAD) :])
            if name in rows:
                refuse(path, f"holds lead {name} twice")
            rows[name] = _millivolts(path, value)
            gaps += int(np.isnan(rows[name]).sum())
    if not rate:
        refuse(path, "does not say at which times its samples were taken")
    left = len(every) + len(sets) - 2
    start = _start(series) or _start(root)
    return assemble(
        path,
        rows,
        round(rate, 6),  # the inverse of an increment is not exact
        start=start,
        sex=_sex(root),
        age=_age(root, start),
        device=" ".join(filter(None, (_first(series, "author//manufacturerOrganization/name"), _model(series)))),
        filters=", ".join(_filters(series)),
        notes=(
            *((f"{left} further rhythms were left out.",) if left else ()),
            *((f"{gaps} samples are marked as missing.",) if gaps else ()),
        ),
    )


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
