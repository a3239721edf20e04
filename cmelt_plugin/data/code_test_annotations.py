"""The tables of CODE-test (Ribeiro et al. 2020): yes/no decisions of one reader on 827 tracings, six classes a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cmelt_plugin.errors import DataError

CLASSES = ("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST")
GOLD = "gold_standard"
LABEL_SET = "code"
DATA_SET = "code-test"
READERS = ("cardiology_residents", "emergency_residents", "medical_students", "dnn", "cardiologist1", "cardiologist2")
"""Files of the readers' tables, without ``.csv``."""


def record_ids(n: int) -> list[str]:
    """Record ids of the first ``n`` tracings of CODE-test, in the order of its files: ``code-0000``, ``code-0001``, …"""
    return [f"code-{row:04d}" for row in range(n)]


def read_annotations(path: Path) -> np.ndarray:
    """Read one table of decisions.

    Returns:
        uint8 ``[N, 6]`` in the order of :data:`CLASSES`; columns are found by name.

    Raises:
        DataError: the file is missing, lacks a class, is empty, or a cell is not 0 or 1.
    """
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected the annotations/ folder of CODE-test") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a CSV file ({' '.join(str(error).split())})") from None
    missing = [name for name in CLASSES if name not in table]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}; expected {', '.join(CLASSES)}")
    several = [name for name in CLASSES if f"{name}.1" in table]  # as pandas calls the second of two
    if several:
        raise DataError(f"{path}: several columns of one name: {', '.join(several)}")
    for name in CLASSES:
        wrong = ~table[name].isin([0, 1])
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise DataError(f"{path}, line {row + 2}, column {name}: {table[name].iloc[row]!r} is not 0 or 1")
    if not len(table):
        raise DataError(f"{path}: holds no rows")
    return table[list(CLASSES)].to_numpy(dtype=np.uint8)
