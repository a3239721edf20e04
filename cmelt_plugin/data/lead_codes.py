"""The numbers of leads that SCP-ECG (EN 1064), ISO 11073-10101 (MDC) and DICOM share, and what people call a lead."""

from __future__ import annotations

import re

from cmelt_plugin.data.leads import LEADS

LEAD_NAMES = {
    **dict(enumerate(("I", "II", "V1", "V2", "V3", "V4", "V5", "V6", "V7"), start=1)),
    **dict(enumerate(("V2R", "V3R", "V4R", "V5R", "V6R", "V7R", "X", "Y", "Z", "CC5", "CM5"), start=10)),
    **dict(enumerate(("III", "aVR", "aVL", "aVF", "-aVR", "V8", "V9", "V8R", "V9R"), start=61)),
}
"""Name of the lead of each number; of those with a name of one meaning."""

_STANDARD = {lead.lower(): lead for lead in LEADS}
OTHER_LEADS = frozenset(
    name.lower()
    for name in (
        *LEAD_NAMES.values(),
        *("vx", "vy", "vz"),  # Frank's, as PTB's WFDB records name them
        *("MLI", "MLII", "MLIII"),  # modified limb leads of MIT-BIH's and the European ST-T records
        *("ES", "AS", "AI"),  # EASI, in ISHNE files
    )
) - set(_STANDARD)
"""Leads beyond the twelve that files are known to have, in small letters."""

_DECORATION = re.compile(r"^(?:(?:ecg|ekg|lead|channel)\b[\s:_-]*)+|\s*\(.*\)$", re.IGNORECASE)


def lead_name(text: str) -> str:
    """The standard name of a lead where ``text`` is one of the ways to write it (``ECG aVR``, ``Lead I (Einthoven)``)."""
    text = " ".join(text.split())
    return _STANDARD.get(_DECORATION.sub("", text).lower(), text)
