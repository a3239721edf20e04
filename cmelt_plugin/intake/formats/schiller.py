"""Schiller's XML (``SchillerEDI``, of SEMA): leads as lists of numbers between commas."""

from __future__ import annotations

import os
import re
from datetime import datetime
from xml.etree.ElementTree import Element

import numpy as np

from cmelt_plugin.data.lead_codes import lead_name
from cmelt_plugin.data.readers.contract import MILLIVOLTS
from cmelt_plugin.intake.patient_facts import age_between, moment, sex_of
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.refusal import refuse, refusing
from cmelt_plugin.intake.waveforms import Rows, assemble, resolution
from cmelt_plugin.intake.xml_files import number_at, numbers_at, read_xml, root_name, text_at

RHYTHM = "ECG_RHYTHMS"


def matches(head: bytes, path: str | os.PathLike) -> bool:
    """Whether the first bytes of a file are Schiller's XML; its outermost element is named after a class of a program."""
    return root_name(head).rpartition(".")[2] == "SchillerEDI"


@refusing("a Schiller XML file")
def read(path: str) -> Recording:
    """The rhythm of a file; averaged beats are left out.

    Raises:
        DataError: the file is damaged or has no rhythm.
    """
    root = read_xml(path)
    blocks = [block for block in root.iter("wavedata") if text_at(block, "type") == RHYTHM]
    if not blocks:
        refuse(path, f"has no wavedata of type {RHYTHM}", "export the recording, not only its averages")
    rhythm = blocks[0]
    unit = text_at(rhythm, "resolution/yres/units").lower()
    if unit not in MILLIVOLTS:
        refuse(path, f"its samples are in {unit or 'no unit'}, not in UV or MV")
    bit = resolution(path, number_at(rhythm, "resolution/yres/unitperbit") * MILLIVOLTS[unit] * 1000)
    rows: Rows = {}
    for channel in rhythm.iterfind("channel"):
        name = lead_name(text_at(channel, "name"))
        if name in rows:
            refuse(path, f"holds lead {name} twice")
        rows[name] = _samples(path, name, channel) * bit
    start = _moment(text_at(root, "examdescript/startdatetime/date"), text_at(root, "examdescript/startdatetime/time"))
    return assemble(
        path,
        rows,
        # Devices write an exponent of 1 beside a value that is the rate already.
        number_at(rhythm, "resolution/samplerate/value"),
        start=start,
        sex=sex_of(text_at(root, "patdata/gender")),
        age=age_between(_moment(text_at(root, "patdata/birthdate"), ""), start),
        device=" ".join(
            text_at(root, f"examdescript/aquiringdevice/hardware/{field}") for field in ("vendor", "model")
        ).strip(),
        filters=_filters(root),
        notes=(f"{len(blocks) - 1} further rhythms were left out.",) if len(blocks) > 1 else (),
    )


def _samples(path: str, name: str, channel: Element) -> np.ndarray:
    """Counts of one lead."""
    if text_at(channel, "datastype") not in ("", "COMMASEPARATE"):
        refuse(path, f"lead {name} is written as {text_at(channel, 'datastype')}, only COMMASEPARATE is known")
    counts = numbers_at(channel, "data")
    if text_at(channel, "samplecount") and number_at(channel, "samplecount") != len(counts):
        refuse(path, f"lead {name} has {len(counts)} samples where samplecount says {text_at(channel, 'samplecount')}")
    return counts


def _moment(day: str, time: str) -> datetime | None:
    """A time from digits: year, month, day; hours, minutes, seconds and more, or nothing."""
    stamp = re.fullmatch(r"(\d{4})(\d\d)(\d\d)", day, re.ASCII)
    clock = re.match(r"(\d\d)(\d\d)(\d\d)", time, re.ASCII)
    return moment(*map(int, (*stamp.groups(), *(clock.groups() if clock else ())))) if stamp else None


def _filters(root: Element) -> str:
    found = {}
    for entry in root.iterfind(".//filters_data/filter"):
        name, value = text_at(entry, "name"), text_at(entry, "value")
        if value not in ("", "-", "OFF"):
            found[name] = value
    return ", ".join(f"{name} {value}" for name, value in found.items())
