"""The 26 scored classes of the PhysioNet/CinC Challenge 2021, from the SNOMED CT codes of a header.

The challenge scores 30 diagnoses and counts four pairs of them as one class. Classes stand in the order of the header of
the official weights file (evaluation-2021, weights.csv), so that the columns of our labels are those of the reward
matrix. A pair is called by the abbreviation it begins with there: CLBBB (with LBBB), CRBBB (with RBBB), PAC (with SVPB),
PVC (with VPB). Source: dx_mapping_scored.csv and weights.csv of https://github.com/physionetchallenges/evaluation-2021.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

LABEL_SET = "cinc2021"


class ScoredClass(NamedTuple):
    """A class of the challenge: our name for it and the SNOMED CT codes that mean it."""

    name: str
    codes: tuple[str, ...]
    meaning: str


SCORED = (
    ScoredClass("AF", ("164889003",), "atrial fibrillation"),
    ScoredClass("AFL", ("164890007",), "atrial flutter"),
    ScoredClass("BBB", ("6374002",), "bundle branch block"),
    ScoredClass("Brady", ("426627000",), "bradycardia"),
    ScoredClass("CLBBB", ("733534002", "164909002"), "(complete) left bundle branch block"),
    ScoredClass("CRBBB", ("713427006", "59118001"), "(complete) right bundle branch block"),
    ScoredClass("IAVB", ("270492004",), "first-degree atrioventricular block"),
    ScoredClass("IRBBB", ("713426002",), "incomplete right bundle branch block"),
    ScoredClass("LAD", ("39732003",), "left axis deviation"),
    ScoredClass("LAnFB", ("445118002",), "left anterior fascicular block"),
    ScoredClass("LPR", ("164947007",), "prolonged PR interval"),
    ScoredClass("LQRSV", ("251146004",), "low QRS voltages"),
    ScoredClass("LQT", ("111975006",), "prolonged QT interval"),
    ScoredClass("NSIVCB", ("698252002",), "nonspecific intraventricular conduction disorder"),
    ScoredClass("NSR", ("426783006",), "sinus rhythm"),
    ScoredClass("PAC", ("284470004", "63593006"), "premature atrial contraction, supraventricular premature beats"),
    ScoredClass("PR", ("10370003",), "pacing rhythm"),
    ScoredClass("PRWP", ("365413008",), "poor R wave progression"),
    ScoredClass("PVC", ("427172004", "17338001"), "premature ventricular contractions, ventricular premature beats"),
    ScoredClass("QAb", ("164917005",), "abnormal Q wave"),
    ScoredClass("RAD", ("47665007",), "right axis deviation"),
    ScoredClass("SA", ("427393009",), "sinus arrhythmia"),
    ScoredClass("SB", ("426177001",), "sinus bradycardia"),
    ScoredClass("STach", ("427084000",), "sinus tachycardia"),
    ScoredClass("TAb", ("164934002",), "T wave abnormal"),
    ScoredClass("TInv", ("59931005",), "T wave inversion"),
)
NAMES = tuple(scored.name for scored in SCORED)
COLUMN = {code: column for column, scored in enumerate(SCORED) for code in scored.codes}


def label_row(codes: Iterable[str]) -> np.ndarray:
    """float32 ``[26]``: 1 for each class one of the codes means, 0 for the others; codes that are not scored are skipped."""
    row = np.zeros(len(SCORED), dtype=np.float32)
    for code in codes:
        column = COLUMN.get(code)
        if column is not None:
            row[column] = 1
    return row


def split_codes(text: str) -> list[str]:
    """The SNOMED CT codes of a header's Dx line, ``"164889003,59118001"``; [] for "Unknown"."""
    return re.findall(r"\d+", text)
