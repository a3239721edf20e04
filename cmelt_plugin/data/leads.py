"""The twelve leads, their order in every array of this project, and how a recording is brought into that order.

Leads are matched by name because sources disagree on the order: PTB-XL stores aVR, aVL, aVF, MIMIC-IV-ECG stores
aVR, aVF, aVL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from cmelt_plugin.errors import DataError

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
MIMIC_IV_ECG_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
"""As MIMIC-IV-ECG stores them, and as weights expect them whose training took channels by position."""


class LeadError(DataError):
    """The leads of a recording are not the standard twelve, each once."""


def lead_indices(names: Sequence[str]) -> list[int]:
    """Position in ``names`` of each of :data:`LEADS`; letter case and surrounding blanks do not matter.

    ``signal[lead_indices(names)]`` puts a ``[leads, samples]`` array into the canonical order.

    Raises:
        LeadError: a lead is missing, doubled or unknown; the message names all of them.
    """
    given = [str(name).strip().lower() for name in names]
    standard = [lead.lower() for lead in LEADS]
    faults = {
        "missing": [lead for lead in LEADS if lead.lower() not in given],
        "doubled": [lead for lead in LEADS if given.count(lead.lower()) > 1],
        "unknown": [str(name) for name, low in zip(names, given) if low not in standard],
    }
    if any(faults.values()):
        detail = "; ".join(f"{fault} {', '.join(leads)}" for fault, leads in faults.items() if leads)
        raise LeadError(f"{len(given)} leads where the standard 12 are expected: {detail}")
    return [given.index(lead) for lead in standard]


# The lead sets of paper Table 1 (Oh et al. 2022, PhysioNet/CinC Challenge 2021).
LEAD_SETS = {"12": LEADS, "6": LEADS[:6], "3": ("I", "II", "V2"), "2": ("I", "II"), "1": ("I",)}
_SPOKEN = {"all": "12", "limb": "6"}


def parse_leads(text: str) -> tuple[str, ...]:
    """``12``, ``6``, ``3``, ``2``, ``1``, ``all``, ``limb`` or names, ``I+II+V2`` or ``I,II`` → names as in :data:`LEADS`.

    Raises:
        LeadError: no name, an unknown one, or one given twice.
    """
    name = text.strip().lower()
    names = LEAD_SETS.get(_SPOKEN.get(name, name), [lead for lead in re.split(r"[\s,+]+", text) if lead])
    return ordered_leads(names)


def ordered_leads(names: Sequence[str]) -> tuple[str, ...]:
    """``names`` as :data:`LEADS` has and orders them.

    Raises:
        LeadError: as :func:`lead_keep_mask`.
    """
    return tuple(lead for lead, kept in zip(LEADS, lead_keep_mask(names)) if kept)


def lead_keep_mask(names: Sequence[str]) -> np.ndarray:
    """Which of :data:`LEADS` are in ``names``: bool [12], True = kept; letter case does not matter.

    Raises:
        LeadError: no name, an unknown one, or one given twice.
    """
    standard = [lead.lower() for lead in LEADS]
    given = [str(name).strip().lower() for name in names]
    if not given:
        raise LeadError(f"no leads chosen; choose from {', '.join(LEADS)}")
    unknown = [str(name) for name, low in zip(names, given) if low not in standard]
    if unknown:
        raise LeadError(f"unknown lead {', '.join(unknown)}; choose from {', '.join(LEADS)}")
    if len(set(given)) < len(given):
        raise LeadError(f"a lead is named twice: {', '.join(map(str, names))}")
    return np.array([lead in given for lead in standard])
