"""Identification sets: who trains, and which two recordings of a subject are compared in validation and test.

A model is trained to tell identities apart and tested on subjects it has not seen: one recording of each is the gallery, a
second one the probe, and a probe counts as right when the most similar gallery entry is of the same subject. In a manifest
the first record of a subject in validation or test is the gallery, the second the probe; everybody has exactly two.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Callable, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from cmelt_plugin.errors import DataError
from preprocess.data_sets.source import read_csv
from preprocess.packing.splits import split_of

T = TypeVar("T", bound=Hashable)


class Pairs(NamedTuple):
    """Two recordings of each subject.

    Attributes:
        chosen: subject → (gallery, probe).
        unusable: subject → candidates that were tried and cannot be used, in the order tried.
        alone: subjects with fewer than two usable candidates.
    """

    chosen: dict[str, tuple]
    unusable: dict[str, list]
    alone: list[str]


def choose_pairs(candidates: Mapping[str, Sequence[Sequence[T]]], usable: Callable[[T], bool]) -> Pairs:
    """The first two usable candidates of every subject, one from each group.

    Args:
        candidates: subject → groups in the order of preference; a group is one recording's segments, of which the first
            usable one is taken. For two segments of one recording, make each segment a group.
        usable: whether a candidate can be packed; asked only as often as needed.
    """
    chosen: dict[str, tuple] = {}
    unusable: dict[str, list] = {}
    alone = []
    for subject, groups in candidates.items():
        pair: list[T] = []
        for group in groups:
            for candidate in group:
                if usable(candidate):
                    pair.append(candidate)
                    break
                unusable.setdefault(subject, []).append(candidate)
            if len(pair) == 2:
                break
        if len(pair) == 2:
            chosen[subject] = (pair[0], pair[1])
        else:
            alone.append(subject)
    return Pairs(chosen, unusable, alone)


def divide_subjects(subjects: Sequence[str], seed: int, fractions: Sequence[float]) -> dict[str, list[str]]:
    """People by the split a hash of their id gives them; see :func:`preprocess.packing.splits.split_of`.

    Args:
        subjects: distinct ids.
        seed: of the hash.
        fractions: shares of train, valid and the rest.
    """
    divided: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for subject in subjects:
        divided[split_of(subject, seed, fractions)].append(subject)
    return divided


class Patient(NamedTuple):
    """Whose recording it is, when it was made (ISO 8601), and the subject's age in years (NaN = unknown)."""

    patient_id: str
    time: str
    age: float


def read_ptb_xl_patients(path: Path) -> dict[int, Patient]:
    """Patients by number of the recording (``ecg_id``), from PTB-XL's ptbxl_database.csv.

    Raises:
        DataError: the file or a column is missing, or a row has no number or patient.
    """
    table = read_csv(path, ["ecg_id", "patient_id", "recording_date", "age"], "ptbxl_database.csv of PTB-XL")
    numbers = pd.to_numeric(table["ecg_id"], errors="coerce")
    patients = table["patient_id"].str.replace(r"\.0$", "", regex=True)
    faulty = (numbers.isna() | (patients == "")).to_numpy()
    if faulty.any():
        raise DataError(f"{path}, line {int(faulty.argmax()) + 2}: no ecg_id or no patient_id")
    ages = pd.to_numeric(table["age"], errors="coerce").to_numpy(dtype=np.float64)
    times = table["recording_date"].str.replace(" ", "T", regex=False)
    return {int(n): Patient(p, t, float(a)) for n, p, t, a in zip(numbers, patients, times, ages)}
