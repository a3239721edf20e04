"""SNOMED CT codes of the classes of CPSC2018 and of CSN, where headers name diagnoses by code.

Abbreviations are no safe bridge between data sets, codes are: ``AF`` is atrial flutter in CSN and fibrillation
elsewhere; ``VEB`` is a ventricular escape beat in CSN and any ventricular ectopic beat in the challenges; CSN's ``STE``
("ST extension") has the code of an abnormal ST interval, and its ``STTU`` ("ST tilt up") that of ST elevation, which
CPSC2018 calls ``STE``.

Sources: ConditionNames_SNOMED-CT.csv of PhysioNet's ecg-arrhythmia 1.0.0, and the tables of diagnoses of the
PhysioNet/CinC Challenge 2021.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

# Pairs that the challenge scores as one diagnosis: the code on the left stands for the one on the right.
EQUIVALENT = {
    "733534002": "164909002",  # complete left bundle branch block = left bundle branch block
    "713427006": "59118001",  # complete right bundle branch block = right bundle branch block
    "63593006": "284470004",  # supraventricular premature beats = premature atrial contraction
    "427172004": "17338001",  # premature ventricular contractions = ventricular premature beats
}

# Classes of CPSC2018 in the challenges' copy of its records.
CPSC2018 = {
    "164889003": "AFIB",
    "164884008": "VPC",  # "ventricular ectopics": the copy uses no other code for this class
    "17338001": "VPC",
    "426783006": "NORM",  # "sinus rhythm": the copy has no other code for a normal recording
    "270492004": "1AVB",
    "59118001": "CRBBB",
    "164931005": "STE",
    "284470004": "PAC",
    "164909002": "CLBBB",
    "429622005": "STD",
}

# The 38 classes of CSN. Four codes have several abbreviations in the data set's table, of which the first, the general
# one, is the class: myocardial infarction whatever the wall (MI, MIBW, MIFW, MILW, MISW), and any left bundle branch
# block (LBBB, LBBBB, LFBBB). The other two (IDC and IVB, WAVN and SAAWR) are no classes.
CSN = {
    "164917005": "AQW",
    "164937009": "UW",
    "426783006": "SR",
    "74390002": "WPW",
    "195042002": "2AVB",
    "713422000": "AT",
    "11157007": "VB",
    "47665007": "ARS",
    "428750005": "STTC",
    "427393009": "SA",
    "164930006": "STE",
    "17338001": "VPB",
    "59931005": "TWO",
    "164931005": "STTU",
    "39732003": "ALS",
    "284470004": "APB",
    "54016002": "2AVB1",
    "164947007": "PRIE",
    "251199005": "CCR",
    "251198002": "CR",
    "164890007": "AF",
    "233917008": "AVB",
    "111975006": "QTIE",
    "164909002": "LBBB",
    "75532003": "VEB",
    "426761007": "SVT",
    "59118001": "RBBB",
    "270492004": "1AVB",
    "429622005": "STDD",
    "164865005": "MI",
    "164889003": "AFIB",
    "164934002": "TWC",
    "164912004": "PWC",
    "428417006": "ERV",
    "89792004": "RVH",
    "164873001": "LVH",
    "427084000": "ST",
    "426995002": "JEB",
}


def code_labels(
    codes: Iterable[Sequence[str]], names: Sequence[str], class_of: Mapping[str, str]
) -> tuple[np.ndarray, Counter]:
    """Labels from the diagnoses in headers.

    Args:
        codes: the SNOMED CT codes of each of n records.
        names: the C classes.
        class_of: code → class.

    Returns:
        float32 [n, C], NaN throughout for a record without any code; and how many records have each code that stands
        for none of the classes.
    """
    others: Counter = Counter()
    rows = []
    for given in codes:
        class_of_code = {code: class_of.get(code, class_of.get(EQUIVALENT.get(code, ""))) for code in given}
        others.update(code for code, name in class_of_code.items() if name not in names)
        present = set(class_of_code.values())
        rows.append([float(name in present) if given else np.nan for name in names])
    return np.array(rows, dtype=np.float32).reshape(-1, len(names)), others
