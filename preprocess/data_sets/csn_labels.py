"""Labels of CSN: published columns, the lists they were made from, and the table of its SNOMED CT codes.

The published split files carry the list of abbreviations (``diagnose``) a record was given, and columns made from it by
searching for the class name anywhere in that text. Where a name is part of another (``VB`` in ``1AVB``, ``AF`` in
``AFIB``, ``ST`` in ``STE``), the column also counts records of the other class: seven of the 38 are wrong. *Shipped*
labels are those columns, for comparison with papers; *exact* labels count a class where the list names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmelt_plugin.errors import DataError
from preprocess.data_sets.source import read_csv
from preprocess.packing.records import Texts

CONDITIONS_FILE = "ConditionNames_SNOMED-CT.csv"


def exact_labels(diagnose: Texts, names: Sequence[str]) -> np.ndarray:
    """float32 [n, C]: 1 where a comma-separated list of abbreviations names the class."""
    given = [{token.strip() for token in text.split(",")} for text in diagnose]
    return np.array([[name in tokens for name in names] for tokens in given], dtype=np.float32).reshape(-1, len(names))


def read_conditions(path: Path, names: Sequence[str]) -> dict[str, str]:
    """Code → class from the data set's own table, for the classes ``names``.

    Of several abbreviations of a code the first counts. It is the general one (``MI`` before the walls, ``LBBB`` before
    its parts), and the one that stands in the published lists of abbreviations.

    Raises:
        DataError: the file is missing, has other columns, or lacks a class.
    """
    layout = "the table of ecg-arrhythmia 1.0.0 with columns AcronymName, FullName, Snomed_CT"
    table = read_csv(path, ["Snomed_CT"], layout, also="Acronym ?Name")
    if table.shape[1] != 2:
        raise DataError(f"{path}: no column AcronymName; expected {layout}")
    abbreviation = next(name for name in table if name != "Snomed_CT")
    conditions: dict[str, str] = {}
    for code, name in zip(table["Snomed_CT"], table[abbreviation]):
        if code:
            conditions.setdefault(code, name)
    missing = [name for name in names if name not in conditions.values()]
    if missing:
        raise DataError(f"{path}: no code for {', '.join(missing)}; expected {layout}")
    return {code: name for code, name in conditions.items() if name in names}


def print_shipped_and_exact(names: Sequence[str], shipped: np.ndarray, exact: np.ndarray, split: Texts, chosen: str) -> None:
    """Print the positives of every class, by split, whose columns ``[n, C]`` differ, and those without positives."""
    print(f"labels: {chosen}; classes whose published column counts other classes too (positives, shipped -> exact):")
    part_of = np.asarray(split)
    parts = [part for part in ("train", "valid", "test") if (part_of == part).any()]
    for column, name in enumerate(names):
        if (shipped[:, column] != exact[:, column]).any():
            by_part = [
                f"{part} {int(shipped[part_of == part, column].sum())} -> {int(exact[part_of == part, column].sum())}"
                for part in parts
            ]
            print(f"  {name}: {int(shipped[:, column].sum())} -> {int(exact[:, column].sum())} ({', '.join(by_part)})")
    used = exact if chosen == "exact" else shipped
    for part in parts:
        empty = [name for name, count in zip(names, used[part_of == part].sum(axis=0)) if not count]
        if empty:
            print(f"  without positives in {part}, so without an AUC there: {', '.join(empty)}")
