"""The score of the PhysioNet/CinC Challenge 2021, with its reward matrix given by the user (``weights.csv``).

A record with t true and p called classes spreads one unit over the t × p pairs, divided by the number of classes that
are true or called; each pair earns its reward. The sum is scaled so that calling every record sinus rhythm scores 0 and
calling everything right scores 1.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence

import numpy as np

from cmelt_plugin.errors import DataError

SINUS_RHYTHM = "426783006"

# SNOMED CT codes of the 30 scored diagnoses and the challenge's abbreviations (its dx_mapping_scored table).
ABBREVIATIONS = {
    "164889003": "AF",
    "164890007": "AFL",
    "6374002": "BBB",
    "426627000": "Brady",
    "733534002": "CLBBB",
    "713427006": "CRBBB",
    "270492004": "IAVB",
    "713426002": "IRBBB",
    "39732003": "LAD",
    "445118002": "LAnFB",
    "164909002": "LBBB",
    "251146004": "LQRSV",
    "698252002": "NSIVCB",
    "426783006": "NSR",
    "284470004": "PAC",
    "10370003": "PR",
    "365413008": "PRWP",
    "427172004": "PVC",
    "164947007": "LPR",
    "111975006": "LQT",
    "164917005": "QAb",
    "47665007": "RAD",
    "59118001": "RBBB",
    "427393009": "SA",
    "426177001": "SB",
    "427084000": "STach",
    "63593006": "SVPB",
    "164934002": "TAb",
    "59931005": "TInv",
    "17338001": "VPB",
}


def load_cinc_weights(path: str | os.PathLike) -> tuple[list[str], np.ndarray]:
    """Read the challenge's reward matrix.

    Returns:
        The classes as written in its header (SNOMED codes, equivalent ones joined by ``|``) and float64 ``[C, C]``: the
        reward of calling the column's class where the row's is true.

    Raises:
        DataError: the file is missing, is not square, its rows and columns are in different order, or a cell is no number.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            rows = [row for row in csv.reader(handle) if any(cell.strip() for cell in row)]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; it is weights.csv of the CinC Challenge 2021's evaluation code") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file ({error})") from None
    classes = [cell.strip() for cell in rows[0][1:]] if rows else []
    if not classes:
        raise DataError(f"{path}: empty; expected class codes in the first row and column and a reward in every cell")
    if [row[0].strip() for row in rows[1:]] != classes:
        raise DataError(f"{path}: the codes of the first column are not those of the first row, in that order")
    try:
        weights = np.array([[float(cell) for cell in row[1:]] for row in rows[1:]])
    except ValueError as error:
        raise DataError(f"{path}: {error}; every cell must be a number, {len(classes)} in each row") from None
    if weights.shape != (len(classes), len(classes)) or not np.isfinite(weights).all():
        raise DataError(f"{path}: {weights.shape} rewards for {len(classes)} classes, or one is not finite")
    return classes, weights


def sinus_rhythm_index(classes: Sequence[str]) -> int:
    """Position of sinus rhythm among classes named by code or abbreviation.

    Raises:
        DataError: it is not there.
    """
    for index, name in enumerate(classes):
        if SINUS_RHYTHM in _codes(name):
            return index
    raise DataError(f"no class is sinus rhythm ({SINUS_RHYTHM}, NSR), by which the CinC 2021 score is normalised")


def match_classes(names: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Columns of ``names`` in the order of the reward matrix: int64 ``[len(classes)]``.

    A class may be named by SNOMED code or abbreviation, equivalent ones joined by ``|``, e.g. ``733534002|164909002``,
    ``CLBBB|LBBB`` or ``CLBBB``; one name in common is enough. Further names are no scored classes and are left out.

    Raises:
        DataError: a class of the matrix has no column or two.
    """
    given = [_codes(name) for name in names]
    columns = []
    for name in classes:
        matching = [column for column, codes in enumerate(given) if codes & _codes(name)]
        if len(matching) != 1:
            label = "|".join(ABBREVIATIONS.get(code, code) for code in name.split("|"))
            problem = "no label column" if not matching else "two label columns: " + ", ".join(names[i] for i in matching)
            raise DataError(f"CinC 2021 class {name} ({label}) has {problem}; equivalent classes must be merged")
        columns.append(matching[0])
    return np.array(columns, dtype=np.int64)


def record_rewards(
    labels: np.ndarray, decisions: np.ndarray, weights: np.ndarray, sinus_rhythm_index: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each record earns: as decided, when called right, when called sinus rhythm; float64 ``[N]`` each.

    Args:
        labels, decisions: bool ``[N, C]`` in the order of ``weights``.
        weights: ``[C, C]``.
    """
    labels, decisions = np.asarray(labels, dtype=bool), np.asarray(decisions, dtype=bool)
    inactive = np.zeros_like(labels)
    inactive[:, sinus_rhythm_index] = True
    true = labels.astype(np.float64) @ np.asarray(weights, dtype=np.float64)
    observed, correct, nothing = (
        (true * called).sum(axis=1) / np.maximum((labels | called).sum(axis=1), 1) for called in (decisions, labels, inactive)
    )
    return observed, correct, nothing


def cinc_score(labels: np.ndarray, decisions: np.ndarray, weights: np.ndarray, sinus_rhythm_index: int) -> float:
    """The challenge's score; 1 = all right, 0 = no better than calling everything sinus rhythm, may be negative.

    Args:
        labels: bool ``[N, C]``, columns in the order of ``weights`` (:func:`match_classes`).
        decisions: bool ``[N, C]``.
        weights: ``[C, C]`` of :func:`load_cinc_weights`.
        sinus_rhythm_index: column of sinus rhythm.

    Returns:
        0 where calling everything sinus rhythm is already right, as the challenge has it.

    Raises:
        ValueError: shapes do not fit.
    """
    if np.ndim(labels) != 2 or np.shape(labels) != np.shape(decisions) or np.shape(weights) != (np.shape(labels)[1],) * 2:
        raise ValueError(
            f"labels {np.shape(labels)}, decisions {np.shape(decisions)} and weights {np.shape(weights)} do not fit"
        )
    observed, correct, inactive = (r.sum() for r in record_rewards(labels, decisions, weights, sinus_rhythm_index))
    return float((observed - inactive) / (correct - inactive)) if correct != inactive else 0.0


def _codes(name: str) -> set[str]:
    """SNOMED codes a class name stands for; an unknown name stands for itself."""
    codes = {abbreviation.lower(): code for code, abbreviation in ABBREVIATIONS.items()}
    return {codes.get(part.strip().lower(), part.strip()) for part in name.split("|")}
