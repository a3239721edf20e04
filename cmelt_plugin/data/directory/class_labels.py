"""``SPLIT.labels.npy`` and ``labels.json``: which classes a record has, and the names of the classes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from cmelt_plugin.data.directory.checksums import check_listed, is_listed
from cmelt_plugin.data.directory.own_files import LABELS_FILE
from cmelt_plugin.data.files import read_object
from cmelt_plugin.data.store.memory_maps import blocks
from cmelt_plugin.data.store.npy_files import read_npy
from cmelt_plugin.errors import DataError


def read_class_names(directory: str | os.PathLike) -> list[str]:
    """The classes of a labelled directory, in the order of the labels' columns.

    Raises:
        DataError: ``labels.json`` is missing or unreadable, or its names are not different texts.
    """
    path = Path(directory) / LABELS_FILE
    names = read_object(path).get("names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise DataError(f'{path}: "names" must be a list of class names; write it again with preprocess/labels.py')
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: a class is named twice: {twice}; write it again with preprocess/labels.py")
    return names


def read_labels(directory: Path, split: str, n_records: int) -> tuple[np.ndarray, list[str]] | None:
    """Labels of the split, uint8 or float32 [n, classes] with NaN = unknown, and the class names; None without.

    Raises:
        DataError: the array is missing though listed, unreadable, does not match the split or ``labels.json``, or holds
            another value than 0, 1 and NaN.
    """
    path = directory / f"{split}.labels.npy"
    if not path.is_file() and not is_listed(path):
        return None
    names = read_class_names(directory)
    check_listed(path)
    try:
        values = read_npy(path)
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: unreadable ({error}); write it again with preprocess/labels.py") from None
    if values.shape != (n_records, len(names)) or values.dtype not in (np.uint8, np.float32):
        raise DataError(
            f"{path}: {values.dtype} {values.shape}, expected uint8 or float32 ({n_records} records of "
            f"{split}.tsv, {len(names)} classes of {LABELS_FILE})"
        )
    for start, part in blocks(values):
        wrong = ~((part == 0) | (part == 1) | (part != part))
        if wrong.any():
            row, column = (int(index[0]) for index in np.nonzero(wrong))
            raise DataError(
                f"{path}, row {start + row}, class {names[column]}: {part[row, column]:g}; labels are 1 (present), "
                "0 (absent) or NaN (unknown). Write them again with preprocess/labels.py"
            )
    return values, names
