"""Which classes of two label sets mean the same, so that thresholds found on one may serve the other.

Abbreviations alone do not tell: AF is fibrillation in CODE and CinC 2021 and flutter in CSN.
"""

from __future__ import annotations

from collections.abc import Sequence

# CODE-test has no validation data (Ribeiro et al. 2020, six abnormalities); its classes elsewhere.
_FOR_CODE: dict[str, dict[str, str]] = {
    "cinc2021": {"1dAVb": "IAVB", "RBBB": "CRBBB", "LBBB": "CLBBB", "SB": "SB", "AF": "AF", "ST": "STach"},
    "csn": {"1dAVb": "1AVB", "RBBB": "RBBB", "LBBB": "LBBB", "AF": "AFIB", "ST": "ST"},
    "cpsc2018": {"1dAVb": "1AVB", "RBBB": "CRBBB", "LBBB": "CLBBB", "AF": "AFIB"},
    "ptb-xl-all": {"1dAVb": "1AVB", "RBBB": "CRBBB", "LBBB": "CLBBB", "SB": "SBRAD", "AF": "AFIB", "ST": "STACH"},
    "ptb-xl-rhythm": {"SB": "SBRAD", "AF": "AFIB", "ST": "STACH"},
}
_FALSE_FRIENDS = {("csn", "AF")}


def same_classes(names: Sequence[str], label_set: str, other_names: Sequence[str], other_label_set: str) -> dict[str, str]:
    """Class of ``label_set`` → the class of ``other_label_set`` that means the same; classes without one are left out.

    Args:
        names: classes of the first label set.
        other_names: classes of the other one.
    """
    if label_set == other_label_set:
        return {name: name for name in names if name in other_names}
    if label_set == "code" and other_label_set in _FOR_CODE:
        counterparts = _FOR_CODE[other_label_set]
        return {name: counterparts[name] for name in names if counterparts.get(name) in other_names}
    return {
        name: name
        for name in names
        if name in other_names and not {(label_set, name), (other_label_set, name)} & _FALSE_FRIENDS
    }
