"""The labels that records of the synthetic cohort may have, and texts on each; those of our label sets where they name the
finding."""

from __future__ import annotations

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
def classes() -> dict[str, str]:
    """Class → what it is."""
    return {name: texts[0] for name, texts in class_texts().items()}
