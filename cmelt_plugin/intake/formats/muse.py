"""GE MUSE's XML (``RestingECG``): leads of 16 bits in Base64, eight of twelve stored, with their checksums."""

from __future__ import annotations

import os
import re
import zlib
from datetime import datetime
from xml.etree.ElementTree import Element

import numpy as np

from cmelt_plugin.data.lead_codes import lead_name
from cmelt_plugin.data.readers.contract import MILLIVOLTS
from cmelt_plugin.intake.patient_facts import age_between, moment, plausible_age, sex_of
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.refusal import refuse, refusing
from cmelt_plugin.intake.waveforms import Rows, assemble, resolution
from cmelt_plugin.intake.xml_files import base64_at, number_at, read_xml, root_name, text_at

UNITS = {"MICROVOLTS": "uv", "MILLIVOLTS": "mv"}
YEARS = {"YEARS": 1.0, "MONTHS": 1 / 12, "WEEKS": 7 / 365.25, "DAYS": 1 / 365.25, "HOURS": 1 / 8766}
DAY = r"(\d\d)-(\d\d)-(\d{4})"  # month, day, year
FILTERS = ("HighPassFilter", "LowPassFilter", "ACFilter")


def matches(head: bytes, path: str | os.PathLike) -> bool:
    """Whether the first bytes of a file are MUSE's XML."""
    return root_name(head) == "RestingECG"


@refusing("a GE MUSE XML file")
def read(path: str) -> Recording:
    """The rhythm of a file; the median beat is left out.

    Raises:
        DataError: the file is damaged or has no rhythm.
    """
    root = read_xml(path)
    blocks = [block for block in root.iter("Waveform") if text_at(block, "WaveformType").lower() == "rhythm"]
    if not blocks:
        refuse(path, "has no waveform of type Rhythm", "export the recording, not only its median beat")
    rhythm = blocks[0]
    notes = [f"{len(blocks) - 1} further rhythms were left out."] if len(blocks) > 1 else []
    rows: Rows = {}
    times, off = set(), []
    for lead in rhythm.iter("LeadData"):
        name = lead_name(text_at(lead, "LeadID"))
        if name in rows:
            refuse(path, f"holds lead {name} twice")
        rows[name] = _samples(path, name, lead)
        times.add((text_at(lead, "LeadTimeOffset") or "0", text_at(lead, "LeadOffsetFirstSample") or "0"))
        if text_at(lead, "LeadOff").upper() == "TRUE":
            off.append(name)
    if len(times) > 1:
        refuse(path, "its leads begin at different times", "export all leads over the same time")
    device = " ".join(
        filter(None, (text_at(root, "TestDemographics/AcquisitionDevice"), text_at(root, "MuseInfo/MuseVersion")))
    )
    start = _start(root)
    return assemble(
        path,
        rows,
        number_at(rhythm, "SampleBase") * 10 ** _exponent(rhythm),
        start=start,
        sex=sex_of(text_at(root, "PatientDemographics/Gender")),
        age=_age(root, start),
        device=f"GE MUSE {device}".strip(),
        filters=", ".join(f"{name} {text_at(rhythm, name)}" for name in FILTERS if text_at(rhythm, name)),
        notes=tuple(notes),
        doubtful=(f"the device reports that {', '.join(off)} {'was' if len(off) == 1 else 'were'} off",) if off else (),
    )


def _exponent(rhythm: Element) -> int:
    exponent = number_at(rhythm, "SampleExponent") if text_at(rhythm, "SampleExponent") else 0.0
    if exponent not in range(-6, 7):
        raise ValueError(f"SampleExponent is {exponent:g}")
    return int(exponent)


def _samples(path: str, name: str, lead: Element) -> np.ndarray:
    """Millivolts of one lead."""
    if text_at(lead, "LeadSampleSize") not in ("", "2"):
        refuse(path, f"lead {name} has samples of {text_at(lead, 'LeadSampleSize')} bytes, only 2 are known")
    unit = UNITS.get(text_at(lead, "LeadAmplitudeUnits").upper())
    if unit is None:
        refuse(path, f"lead {name} is in {text_at(lead, 'LeadAmplitudeUnits') or 'no unit'}, not in MICROVOLTS or MILLIVOLTS")
    data = base64_at(lead, "WaveFormData")
    for count, field in ((len(data), "LeadByteCountTotal"), (len(data) // 2, "LeadSampleCountTotal")):
        if text_at(lead, field) and number_at(lead, field) != count:
            refuse(path, f"lead {name} has {count} where {field} says {text_at(lead, field)}")
    checksum = int(number_at(lead, "LeadDataCRC32")) if text_at(lead, "LeadDataCRC32") else 0
    if checksum and checksum % (1 << 32) != zlib.crc32(data):
        refuse(path, f"the samples of lead {name} do not have the checksum that the file gives them")
    counts = np.frombuffer(data, "<i2").astype(np.float64)
    return counts * resolution(path, number_at(lead, "LeadAmplitudeUnitsPerBit") * MILLIVOLTS[unit] * 1000)


def _start(root: Element) -> datetime | None:
    day = re.fullmatch(DAY, text_at(root, "TestDemographics/AcquisitionDate"), re.ASCII)
    time = re.fullmatch(r"(\d\d):(\d\d)(?::(\d\d))?", text_at(root, "TestDemographics/AcquisitionTime"), re.ASCII)
    if day is None or time is None:
        return None
    return moment(int(day[3]), int(day[1]), int(day[2]), int(time[1]), int(time[2]), int(time[3] or 0))


def _age(root: Element, start: datetime | None) -> float | None:
    """As the file says it, or from the date of birth."""
    age = text_at(root, "PatientDemographics/PatientAge")
    unit = YEARS.get(text_at(root, "PatientDemographics/AgeUnits").upper())
    if unit is not None and re.fullmatch(r"\d{1,4}", age, re.ASCII):
        return plausible_age(float(age) * unit)
    birth = re.fullmatch(DAY, text_at(root, "PatientDemographics/DateofBirth"), re.ASCII)
    return age_between(moment(int(birth[3]), int(birth[1]), int(birth[2])) if birth else None, start)
