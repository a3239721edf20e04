"""GE CardioSoft's XML (``CardiologyXML``, also CASE and Marquette devices): leads as lists of numbers between commas."""

from __future__ import annotations

import os
import re
from datetime import datetime
from xml.etree.ElementTree import Element

from cmelt_plugin.data.lead_codes import lead_name
from cmelt_plugin.intake.patient_facts import age_between, moment, plausible_age, sex_of
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.refusal import refuse, refusing
from cmelt_plugin.intake.waveforms import Rows, assemble, resolution
from cmelt_plugin.intake.xml_files import number_at, numbers_at, read_xml, root_name, text_at


def matches(head: bytes, path: str | os.PathLike) -> bool:
    """Whether the first bytes of a file are CardioSoft's XML."""
    return root_name(head) == "CardiologyXML"


@refusing("a CardioSoft XML file")
def read(path: str) -> Recording:
    """The strip of a file; median beats and vector loops are left out.

    Raises:
        DataError: the file is damaged or has no strip.
    """
    root = read_xml(path)
    strips = list(root.iter("StripData"))
    if not strips:
        refuse(path, "has no StripData", "export the recording, not only its median beats")
    strip = strips[0]
    scale = strip.find("Resolution")
    unit = "" if scale is None else scale.get("units", "")
    if unit != "uVperLsb":
        refuse(path, f"its samples are in {unit or 'no unit'}, not in uVperLsb")
    bit = resolution(path, number_at(strip, "Resolution"))
    rows: Rows = {}
    for waveform in strip.iterfind("WaveformData"):
        name = lead_name(waveform.get("lead", ""))
        if name in rows:
            refuse(path, f"holds lead {name} twice")
        rows[name] = numbers_at(waveform) * bit
        if number_at(strip, "ChannelSampleCountTotal") != len(rows[name]):
            expected = text_at(strip, "ChannelSampleCountTotal")
            refuse(path, f"lead {name} has {len(rows[name])} samples where ChannelSampleCountTotal says {expected}")
    if text_at(strip, "NumberOfLeads") and number_at(strip, "NumberOfLeads") != len(rows):
        refuse(path, f"holds {len(rows)} leads where NumberOfLeads says {text_at(strip, 'NumberOfLeads')}")
    start = _moment(root, "ObservationDateTime")
    device = (text_at(root, f"ClinicalInfo/DeviceInfo/{field}") for field in ("Desc", "SoftwareVer"))
    return assemble(
        path,
        rows,
        number_at(strip, "SampleRate"),
        start=start,
        sex=sex_of(text_at(root, "PatientInfo/Gender")),
        age=_age(root, start),
        device=f"GE {' '.join(filter(None, device))}",
        filters=_filters(root),
        notes=(f"{len(strips) - 1} further strips were left out.",) if len(strips) > 1 else (),
    )


def _moment(root: Element, field: str) -> datetime | None:
    day = [text_at(root, f"{field}/{part}") for part in ("Year", "Month", "Day")]
    clock = [text_at(root, f"{field}/{part}") or "0" for part in ("Hour", "Minute", "Second")]
    known = all(re.fullmatch(r"\d{1,4}", part, re.ASCII) for part in day + clock)
    return moment(*map(int, day + clock)) if known else None


def _age(root: Element, start: datetime | None) -> float | None:
    years = root.find("PatientInfo/Age")
    if (
        years is not None
        and years.get("units", "years").lower() == "years"
        and re.fullmatch(r"\d{1,3}", years.text or "", re.ASCII)
    ):
        return plausible_age(int(years.text or ""))
    return age_between(_moment(root, "PatientInfo/BirthDateTime"), start)


def _filters(root: Element) -> str:
    """Those that are on, as the file names them."""
    found = []
    settings = root.find("FilterSetting")
    for setting in () if settings is None else settings:
        value = (setting.text or "").strip()
        if value and value.lower() != "no":
            found.append(
                " ".join(filter(None, (setting.tag, "" if value.lower() == "yes" else value, setting.get("units", ""))))
            )
    return ", ".join(found)
