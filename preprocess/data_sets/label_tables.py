"""Labels of records: reading them from a CSV file with one row per record, and writing them into a manifest directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pandas as pd
from tqdm import tqdm

from cmelt_plugin.data.directory.manifest import available_splits
from cmelt_plugin.data.directory.own_files import LABELS_FILE, PROMPTS_FILE
from cmelt_plugin.data.directory.replacing import replacing
from cmelt_plugin.data.directory.split_meta import read_meta_column
from cmelt_plugin.data.files import atomic_path, write_json
from cmelt_plugin.data.text.prompt_copies import write_copy
from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import load_prompts
from preprocess.data_sets.source import read_csv

VALUES = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "": np.nan}


def read_labels(path: Path, id_column: str) -> tuple[pd.Index, np.ndarray, list[str]]:
    """Read a label CSV.

    Returns:
        record ids [n], labels float32 [n, classes] with NaN = unknown, and the class names in the file's order.

    Raises:
        DataError: the id column is missing, there is no class, an id occurs twice, or a cell is not 0, 1 or empty.
    """
    table = read_csv(path, [id_column], f"a column {id_column} and one column of 0, 1 or nothing per class", also=".*")
    ids = pd.Index(table.pop(id_column))
    if table.shape[1] == 0:
        raise DataError(f"{path}: no class column beside {id_column}")
    unnamed = [number for number, name in enumerate(table) if not str(name).strip() or str(name).startswith("Unnamed: ")]
    if unnamed:
        raise DataError(f"{path}: class column {unnamed[0] + 1} has no name; give every class one, or delete the column")
    if ids.has_duplicates:
        raise DataError(f"{path}: {id_column} {ids[ids.duplicated()][0]} occurs more than once")
    values = np.empty(table.shape, dtype=np.float32)
    for column, name in enumerate(table):
        values[:, column] = class_column(table[name], table[name], lambda row: f"{path}, record {ids[row]}")
    return ids, values, table.columns.tolist()


def class_column(cells: pd.Series, written: pd.Series, place: Callable[[int], str]) -> np.ndarray:
    """A class's labels float32 [n] from n cells of 0, 1 or nothing (NaN).

    Args:
        cells: text.
        written: the cells as the file has them, under the class's name, for messages.
        place: says where a row is, for messages.

    Raises:
        DataError: a cell is something else.
    """
    known = cells.isin(VALUES)
    if not known.all():
        row = int((~known).to_numpy().argmax())
        raise DataError(f"{place(row)}, column {written.name}: {written.iloc[row]!r} is not 0, 1 or empty")
    return cells.map(VALUES).to_numpy(dtype=np.float32)


def check_prompts(source: str | Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Read class texts and check that they cover exactly the classes ``names``.

    Args:
        source: JSON file in full or short form, or one of our label sets.
        names: the classes.

    Raises:
        DataError: malformed (see :func:`cmelt_plugin.prompts.load_prompts`), an unknown class, or a class without text.
    """
    prompts = load_prompts(source)
    unknown = sorted(set(prompts) - set(names))
    if unknown:
        raise DataError(f"{source}: no such class in the labels: {', '.join(unknown)}")
    missing = [name for name in names if name not in prompts]
    if missing:
        raise DataError(f"{source}: no text for class {', '.join(missing)}")
    return {name: prompts[name] for name in names}


def attach_labels(
    directory: Path,
    ids: pd.Index,
    values: np.ndarray,
    names: Sequence[str],
    label_set: str,
    prompts: dict[str, list[str]] | None = None,
    source: str = "labels",
    prompt_kind: str | None = None,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Write the labels of every split of a manifest directory, labels.json and, where given, prompts.json.

    Args:
        directory: manifest directory.
        ids: n record ids.
        values: float32 [n, C], 1/0/NaN.
        names: the C classes.
        label_set: name of the label set.
        prompts: class → texts in the order of the classes; None: texts of an earlier label set are deleted.
        source: where the labels come from, for the error message.
        prompt_kind: kind of the texts, which labels.json keeps; None: unknown.

    Returns:
        split → (row of ``values`` per record, -1 = none; labels float32 [records, C]).

    Raises:
        DataError: the directory holds no split, none of the ids, or no known label.
    """
    splits = available_splits(directory)
    if not splits:
        raise DataError(f"{directory}: holds no split (train.tsv with train.meta.parquet)")
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for split in splits:
        position = ids.get_indexer(read_meta_column(directory, split, "record_id").to_pylist())
        labels = np.where(position[:, None] >= 0, values[position], np.float32(np.nan))
        found[split] = position, labels
    if all((position < 0).all() for position, _ in found.values()):
        raise DataError(f"{source}: none of its {len(ids)} ids occurs in {directory}; is the id column right?")
    if all(np.isnan(labels).all() for _, labels in found.values()):
        raise DataError(f"{source}: says of no record of {directory} whether it has a class; every label would be unknown")
    # Arrays of an older label set must not be read with the new names, should the run be killed in between.
    arrays = {split: directory / f"{split}.labels.npy" for split in splits}
    with replacing(directory, [LABELS_FILE, PROMPTS_FILE, *(path.name for path in arrays.values())]):
        for path in arrays.values():
            path.unlink(missing_ok=True)
        copied: dict[str, Any] = {}
        if prompts is None:
            (directory / PROMPTS_FILE).unlink(missing_ok=True)
        else:
            copied = write_copy(directory, prompts, prompt_kind)
        write_json(directory / LABELS_FILE, {"label_set": label_set, "names": list(names), **copied})
        for split in tqdm(splits, unit="split", desc="writing"):
            with atomic_path(arrays[split]) as temporary:
                np.save(temporary, found[split][1], allow_pickle=False)
    return found


def print_class_counts(found: dict[str, tuple[np.ndarray, np.ndarray]], names: Sequence[str], source: str) -> None:
    """Print how many records of each split have, lack or do not know each class."""
    for split, (position, labels) in found.items():
        print(f"{split}: {len(position)} records, {int((position < 0).sum())} without a row in {source}")
        for name, column in zip(names, labels.T):
            unknown = int(np.isnan(column).sum())
            print(f"  {name}: {int(np.nansum(column))} present, {int((column == 0).sum())} absent, {unknown} unknown")
