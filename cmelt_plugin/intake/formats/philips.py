"""Philips' XML (Sierra ECG, ``restingecgdata``), versions 1.03 to 1.04.01.

Leads III, aVR, aVL and aVF are stored as what remains of them after they were computed from I and II. The last second of a
recording is a calibration pulse, which :func:`cmelt_plugin.intake.waveforms.assemble` leaves out.
"""

from __future__ import annotations

import os
import re
from datetime import datetime
from xml.etree.ElementTree import Element

import numpy as np

from cmelt_plugin.data.lead_codes import lead_name
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.intake.formats import xli
from cmelt_plugin.intake.numerals import number
from cmelt_plugin.intake.patient_facts import age_between, moment, plausible_age, sex_of
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.refusal import refuse, refusing
from cmelt_plugin.intake.waveforms import assemble, resolution
from cmelt_plugin.intake.xml_files import base64_at, read_xml, root_name, text_at

VERSIONS = ("1.03", "1.04", "1.04.01")
LONGEST = 600.0  # seconds; devices store 10 or 11
DEFECTIVE = "DE"  # code of a recording that the device could not interpret

_CHARACTERISTICS = "dataacquisition/signalcharacteristics"
_PATIENT = "patient/generalpatientdata"


def matches(head: bytes, path: str | os.PathLike) -> bool:
    """Whether the first bytes of a file are Philips' XML."""
    return root_name(head) == "restingecgdata"


@refusing("a Philips (Sierra ECG) XML file")
def read(path: str) -> Recording:
    """The rhythm of a file; representative beats and the calibration pulse are left out.

    Raises:
        DataError: the file is damaged, of another version, or the device itself calls it defective.
    """
    root = read_xml(path)
    version = text_at(root, "documentinfo/documentversion")
    if version not in VERSIONS:
        refuse(path, f"is of version {version or '(none)'}", f"export it as version {', '.join(VERSIONS)}, or as DICOM")
    _check_quality(path, root)
    waveforms = root.find("waveforms/parsedwaveforms")
    if waveforms is None:
        refuse(path, "has no waveforms/parsedwaveforms", "export the recording with its waveforms")
    stated = _Stated(root, waveforms)
    if (stated.text("compressmethod", "compression"), stated.text("dataencoding")) != ("XLI", "Base64"):
        refuse(
            path, "its waveforms are not compressed as XLI and written in Base64", "export it with the device's own settings"
        )
    rate = number(stated.text("samplespersecond", "samplingrate"), "samplingrate")
    seconds = number(stated.text("durationperchannel"), "durationperchannel") / 1000
    if not (0 < seconds <= LONGEST and 0 < rate <= 1 << 16):
        refuse(path, f"{seconds:g} s at {rate:g} Hz")
    names = tuple(map(lead_name, (stated.text("leadlabels") or " ".join(LEADS)).split()))
    if names[:6] != LEADS[:6] or len(set(names)) < len(names) or len(names) > 32:
        refuse(path, f"its leads are {' '.join(names)}; they are expected to begin with {' '.join(LEADS[:6])}")
    if stated.text("signaloffset") not in ("", "0") or stated.text("bitspersample", "nbitspersample") not in ("", "16"):
        refuse(path, "its samples are not 16 bits around 0")
    counts = from_residuals(xli.decode(base64_at(waveforms), len(names), round(seconds * rate)))
    millivolts = counts * resolution(path, number(stated.text("resolution", "signalresolution"), "resolution"))
    return assemble(
        path,
        dict(zip(names, millivolts)),
        rate,
        start=(start := _start(root)),
        sex=sex_of(text_at(root, f"{_PATIENT}/sex")),
        age=_age(root, start),
        device=f"Philips {text_at(root, 'dataacquisition/machine')}".strip(),
        filters=_filters(root, stated),
    )


def from_residuals(stored: np.ndarray) -> np.ndarray:
    """Leads from what is stored: I, II and the chest leads as they are, of the other limb leads what I and II leave over."""
    leads = stored.copy()
    one, two = stored[:2]
    three = leads[2] = two - one - stored[2]
    leads[3] = -((one + two) >> 1) - stored[3]
    leads[4] = ((one - three) >> 1) - stored[4]
    leads[5] = ((two + three) >> 1) - stored[5]
    return leads


class _Stated:
    """Facts of the signal; version 1.03 has them beside, 1.04 in the attributes of, the waveforms."""

    def __init__(self, root: Element, waveforms: Element) -> None:
        self.root, self.waveforms = root, waveforms

    def text(self, *names: str) -> str:
        for name in names:
            found = self.waveforms.get(name, "") or text_at(self.root, f"{_CHARACTERISTICS}/{name}")
            if found:
                return found.strip()
        return ""


def _check_quality(path: str, root: Element) -> None:
    for interpretation in root.iterfind("interpretations/interpretation"):
        severity = interpretation.find("severity")
        if severity is not None and severity.get("code") == DEFECTIVE:
            said = text_at(interpretation, "statement/leftstatement") or (severity.text or "").strip(" -")
            refuse(path, f"the device calls the recording defective ({said})", "use another recording of the patient")


def _start(root: Element) -> datetime | None:
    acquisition = root.find("dataacquisition")
    if acquisition is None:
        return None
    stamp = re.fullmatch(
        r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)", f"{acquisition.get('date')} {acquisition.get('time')}", re.ASCII
    )
    return moment(*map(int, stamp.groups())) if stamp else None


def _age(root: Element, start: datetime | None) -> float | None:
    years = text_at(root, f"{_PATIENT}/age/years")
    if re.fullmatch(r"\d{1,3}", years, re.ASCII):
        return plausible_age(int(years))
    born = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)", text_at(root, f"{_PATIENT}/age/dateofbirth"), re.ASCII)
    return age_between(moment(*map(int, born.groups())), start) if born else None


def _filters(root: Element, stated: _Stated) -> str:
    """Those of the stored signal, not those of the report, which are applied when it is printed."""
    band = stated.text("signalbandwidth") or "-".join(filter(None, (stated.text("hipass"), stated.text("lowpass"))))
    notch = stated.text("notchfilterfreqs") if stated.text("notchfiltered") == "True" else ""
    return ", ".join(filter(None, (f"{band} Hz" if band else "", f"notch {notch} Hz" if notch else "")))
