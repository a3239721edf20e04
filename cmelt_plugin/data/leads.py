"""The twelve leads, their order in every array of this project, and how a recording's own order is mapped to it.

Leads are matched by name because sources disagree on the order: PTB-XL stores aVR, aVL, aVF, MIMIC-IV-ECG stores
aVR, aVF, aVL.
"""

from __future__ import annotations

from collections.abc import Sequence

from cmelt_plugin.errors import DataError

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


class LeadError(DataError):
    """The leads of a recording are not the standard twelve, each once."""


def lead_indices(names: Sequence[str]) -> list[int]:
    """Position in ``names`` of each of :data:`LEADS`; letter case and surrounding blanks do not matter.

    ``signal[lead_indices(names)]`` puts a ``[leads, samples]`` array into the canonical order.

    Raises:
        LeadError: a lead is missing, doubled or unknown; the message names all of them.
    """
    found = [str(name).strip().lower() for name in names]
    wanted = [lead.lower() for lead in LEADS]
    faults = {
        "missing": [lead for lead in LEADS if lead.lower() not in found],
        "doubled": [lead for lead in LEADS if found.count(lead.lower()) > 1],
        "unknown": [str(name) for name, low in zip(names, found) if low not in wanted],
    }
    if any(faults.values()):
        detail = "; ".join(f"{fault} {', '.join(leads)}" for fault, leads in faults.items() if leads)
        raise LeadError(f"{len(found)} leads where the standard 12 are expected: {detail}")
    return [found.index(lead) for lead in wanted]
