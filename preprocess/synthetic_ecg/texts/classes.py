"""The labels that records of the synthetic cohort may have, and texts on each; those of our label sets where they name the
finding. Beside the findings stand classes of several of them."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from functools import cache
from pathlib import Path

from cmelt_plugin.data.files import read_json
from cmelt_plugin.prompts import load_prompts

# Label set → the classes of it that are labels here. Of the first, all are.
_BORROWED: dict[str, tuple[str, ...]] = {
    "ptb-xl-all": (),
    "cinc2021": ("LAD", "RAD", "PRWP"),
    "csn": ("2AVB1", "AT", "VB", "CR", "CCR", "VEB", "JEB", "ERV", "UW"),
}
# Label set → the names that its classes have here where they differ; those of the same name mean the same.
_ALIKE: dict[str, dict[str, str]] = {
    "ptb-xl-form": {"STD": "STD_", "TAB": "TAB_", "NT": "NT_", "STE": "STE_", "NST": "NST_"},
    "ptb-xl-sub": {"NST": "NST_", "ISC": "ISC_"},
    "ptb-xl-super": {},
    "ptb-xl-rhythm": {},
    "cinc2021": {
        **{"AF": "AFIB", "AFL": "AFLT", "IAVB": "1AVB", "LAnFB": "LAFB", "LQRSV": "LVOLT", "NSIVCB": "IVCD", "NSR": "SR"},
        **{"PR": "PACE", "LQT": "LNGQT", "QAb": "QWAVE", "SA": "SARRH", "SB": "SBRAD", "STach": "STACH", "TAb": "TAB_"},
        **{"TInv": "INVT"},
    },
    "csn": {
        **{"ARS": "RAD", "ALS": "LAD", "SA": "SARRH", "STE": "STE_", "VPB": "PVC", "TWO": "INVT", "APB": "PAC", "PRIE": "LPR"},
        **{"AF": "AFLT", "QTIE": "LNGQT", "LBBB": "CLBBB", "SVT": "SVTAC", "RBBB": "CRBBB", "STDD": "STD_", "ST": "STACH"},
        **{"AQW": "QWAVE"},
    },
    "cpsc2018": {"VPC": "PVC", "STE": "STE_", "STD": "STD_"},
    "code": {"1dAVb": "1AVB", "RBBB": "CRBBB", "LBBB": "CLBBB", "SB": "SBRAD", "AF": "AFIB", "ST": "STACH"},
}
# Classes of several findings: their texts may not fit the one that a record shows.
_SEVERAL = frozenset({"STTC", "MI", "HYP", "CD", "AMI", "IMI", "AVB"})
GROUPS = Path(__file__).parent / "groups.json"
OWN_TEXTS = Path(__file__).parent / "prompts.json"
"""Classes that none of the label sets has: name → texts, the first of which says what it is."""


@cache
def class_texts() -> dict[str, list[str]]:
    """Class → texts, in the order of the columns of ``labels.csv``."""
    texts: dict[str, list[str]] = {}
    for label_set, names in _BORROWED.items():
        short, found = (load_prompts(label_set, kind) for kind in ("name", "description"))
        texts.update({name: list(dict.fromkeys([*short[name], *found[name]])) for name in names or found})
    texts.update(read_json(OWN_TEXTS))
    return texts


@cache
def descriptions() -> dict[str, list[str]]:
    """Class → texts of it in any of our label sets, which reports may use."""
    texts = {name: list(found) for name, found in class_texts().items()}
    for label_set, alike in _ALIKE.items():
        for name, found in load_prompts(label_set, "description").items():
            label = alike.get(name, name)
            if label in texts and name not in _SEVERAL:
                texts[label] = list(dict.fromkeys([*texts[label], *found]))
    return texts


@cache
def wider() -> list[dict]:
    """Texts on classes of several findings: ``labels`` of which one suffices, ``old`` where an acute infarct does not."""
    return read_json(Path(__file__).parent / "wider.json")


@cache
def classes() -> dict[str, str]:
    """Class → what it is."""
    return {name: texts[0] for name, texts in class_texts().items()}


@cache
def groups() -> dict[str, tuple[str, ...]]:
    """PTB-XL's superclasses and subclasses of several findings: column of ``labels.csv`` → findings, of which one suffices
    (``scp_statements.csv`` of PTB-XL 1.0.3)."""
    return {name: tuple(entry["labels"]) for name, entry in read_json(GROUPS).items()}


@cache
def all_texts() -> dict[str, list[str]]:
    """Texts of every column of ``labels.csv``: :func:`class_texts`, then those of :func:`groups`."""
    texts = dict(class_texts())
    for name, entry in read_json(GROUPS).items():
        texts[name] = load_prompts(entry["label_set"], "description")[entry["class"]]
    return texts


def label_row(labels: AbstractSet[str]) -> list[int]:
    """Row of ``labels.csv`` of a record with these findings: 0 or 1 for every class of :func:`all_texts`."""
    return [
        *(int(name in labels) for name in class_texts()),
        *(int(any(one in labels for one in of)) for of in groups().values()),
    ]
