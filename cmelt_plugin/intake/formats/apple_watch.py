"""CSV that Apple's Health app exports of a watch's ECG: headings, decimal mark and quotes follow the language of the phone.

What does not depend on the language: a head of ``heading,value`` lines, among them the time of the recording and the sample
rate with a unit, then the lead and the unit of the samples, then one sample a line.
"""

from __future__ import annotations

import os
import re
from datetime import datetime

import numpy as np

from cmelt_plugin.data.lead_codes import lead_name
from cmelt_plugin.data.readers.contract import MILLIVOLTS, read_file
from cmelt_plugin.intake.numerals import number, numbers
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.refusal import refuse, refusing
from cmelt_plugin.intake.waveforms import assemble

LARGEST_CSV = 1 << 23  # bytes; 30 s have 120,000
HEAD_LINES = 30

_UNIT = re.compile(r"[^,]+,\s*\"?([mµμ]?V)\"?\s*", re.IGNORECASE)
_RATE = re.compile(r"\"?(\d{2,5}(?:[.,]\d{1,6})?)\s*[^\W\d]\D*")  # unlike a date, it ends in a word
_START = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?: ([+-]\d{4}))?", re.ASCII)
_DEVICE = re.compile(r"\"?(\w*Watch\w*\d+,\d+)\"?")
_LEAD = re.compile(r"(?<![A-Za-z0-9])(I{1,3}|aV[RLF]|V[1-6])(?![A-Za-z0-9])")


def matches(head: bytes, path: str | os.PathLike) -> bool:
    """Whether the first bytes of a file are an ECG of a watch: a head with a rate, and the unit of the samples."""
    lines = _lines(head)
    unit = _unit_line(lines)
    return unit is not None and any(_RATE.fullmatch(_value(line)) for line in lines[:unit])


@refusing("a CSV export of an Apple Watch")
def read(path: str) -> Recording:
    """The recording of a file.

    Raises:
        DataError: the file is damaged, or its numbers can be read in two ways.
    """
    lines = _lines(read_file(path, LARGEST_CSV))
    unit = _unit_line(lines)
    head = [line for line in lines[:unit] if line]
    if unit is None or len(head) < 2:
        refuse(path, "has no line with the unit of the samples (µV)", "export the recording again from the Health app")
    rates = [match[1] for match in map(_RATE.fullmatch, map(_value, head[:-1])) if match]
    if len(rates) != 1:
        refuse(path, "has no line with the sample rate, or several", "export the recording again from the Health app")
    millivolts = MILLIVOLTS[_unit(lines[unit])]
    samples = [line.strip('"') for line in lines[unit + 1 :] if line]
    return assemble(
        path,
        {_lead(head[-1]): _numbers(path, samples) * millivolts},
        number(rates[0].replace(",", "."), "the sample rate"),
        start=_start(head),
        device=" ".join(["Apple", *(match[1] for match in map(_DEVICE.fullmatch, map(_value, head)) if match)]),
    )


def _lines(data: bytes) -> list[str]:
    text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace")
    return [line.strip() for line in text.splitlines()]


def _unit(line: str) -> str:
    match = _UNIT.fullmatch(line)
    return match[1].lower() if match else ""


def _unit_line(lines: list[str]) -> int | None:
    return next((number for number, line in enumerate(lines[:HEAD_LINES]) if _unit(line) in MILLIVOLTS), None)


def _value(line: str) -> str:
    """What follows the heading; a decimal comma in it is not quoted."""
    return line.partition(",")[2].strip()


def _lead(line: str) -> str:
    """The name in a lead's line, wherever a language puts it and whether or not it sets it apart; else the last word."""
    value = _value(line).strip('"')
    found = _LEAD.search(value)
    words = value.split()
    return lead_name(found[1] if found else words[-1]) if words else "I"


def _start(head: list[str]) -> datetime | None:
    stamp = next((match for match in (_START.match(_value(line).strip('"')) for line in head) if match), None)
    if stamp is None:
        return None
    try:
        return datetime.strptime(stamp[1], "%Y-%m-%d %H:%M:%S")
    except ValueError:
        return None


def _numbers(path: str, samples: list[str]) -> np.ndarray:
    """One number a line; a mark is the decimal one as long as all lines agree on it and none has two."""
    text = "\n".join(samples)
    if "." in text and "," in text:
        refuse(path, "its samples have both points and commas, so that it is unclear which are decimal marks")
    if any(sample.count(",") > 1 or " " in sample for sample in samples):
        refuse(path, "a line has several numbers or a number several commas, where one sample a line is expected")
    return numbers(text.replace(",", ".").replace("\N{MINUS SIGN}", "-"), " ")
