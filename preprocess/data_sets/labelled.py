"""From records and their labels to a labelled manifest directory: what the commands of the evaluation sets share."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from cmelt_plugin.data.directory.own_files import LABELS_FILE
from cmelt_plugin.data.files import read_object
from cmelt_plugin.data.readers.contract import Recording
from cmelt_plugin.data.readers.wfdb_records import read_wfdb
from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import kind_of, label_sets, load_prompts
from preprocess.data_sets.label_tables import attach_labels, print_class_counts
from preprocess.packing.duplicates import packed_rows
from preprocess.packing.finish import REJECTED_FILE
from preprocess.packing.pack import add_arguments, options_from, pack
from preprocess.packing.reuse import reuse_store

ALL_BUT_ONE_LEAD = 11


class LabelTable(NamedTuple):
    """Labels of the records of a data set."""

    label_set: str
    """Name of the label set; class texts of ours are ``cmelt_plugin/prompts/<label_set>.json``."""
    names: Sequence[str]
    record_id: Sequence[str]
    """Where an id occurs twice, the row counts whose recording is packed, if rows are those of the records; else the first."""
    values: np.ndarray
    """float32 [n, C]: 1 present, 0 absent, NaN unknown."""


def add_labelled_arguments(parser: argparse.ArgumentParser, splits: bool = True, optional: bool = False) -> None:
    """Add the options of the packing commands, with defaults for evaluation, and three more.

    Test sets must be those of the published results, so records with flat leads or without a report stay in.

    Args:
        parser: the command's.
        splits: as :func:`preprocess.packing.pack.add_arguments`.
        optional: for commands that also prepare pre-training, whose defaults are stricter; the command must then call
            :func:`settle_defaults`.
    """
    add_arguments(parser, splits)
    defaults = (None, None) if optional else (ALL_BUT_ONE_LEAD, True)
    parser.set_defaults(allow_flat_leads=defaults[0], allow_no_report=defaults[1])
    parser.add_argument(
        "--store", type=Path, help="manifest directory of the same data set whose packed recordings are used again"
    )
    parser.add_argument("--prompts", help="class texts for zero-shot: a label set or a JSON file (default: our own)")
    parser.add_argument(
        "--prompt-kind",
        choices=("name", "abbreviation", "description", "all"),
        default="description",
        help="which texts of a class (default description)",
    )


def settle_defaults(args: argparse.Namespace, labelled: bool) -> argparse.Namespace:
    """Fill in what the user left open after ``add_labelled_arguments(..., optional=True)``; return ``args``."""
    if args.allow_flat_leads is None:
        args.allow_flat_leads = ALL_BUT_ONE_LEAD if labelled else 0
    if args.allow_no_report is None:
        args.allow_no_report = labelled
    return args


def pack_labelled(
    records: pa.Table,
    labels: LabelTable,
    args: argparse.Namespace,
    *,
    data_set: str,
    command: str,
    notes: Sequence[str] = (),
    reader: Callable[[str], Recording] = read_wfdb,
    crop: str = "start",
) -> int:
    """Pack the records (or take them from ``args.store``), write splits, labels and class texts; return the exit code.

    A directory that is finished gets its labels and class texts anew, so that corrected labels need no packing.

    Args:
        records: table of ``RECORDS_SCHEMA``; empty ``split`` = by subject hash.
        labels: rows in any order; records without one are unknown throughout.
        args: parsed arguments of :func:`add_labelled_arguments`.
        data_set: name written to the meta files.
        command: the command that runs, for ``manifest.json``.
        notes: sentences about the data for ``manifest.json``.
        reader: as :func:`preprocess.packing.pack`.
        crop: ``start`` or ``centre``, which 10 s of a longer recording are kept.

    Raises:
        DataError: as :func:`preprocess.packing.pack` and :func:`preprocess.packing.reuse.reuse_store`; class texts that do not
            cover the classes; or ``args.dest`` holds another label set.
    """
    names = list(labels.names)
    source = args.prompts or (labels.label_set if labels.label_set in label_sets() else None)
    prompts = class_texts(source, args.prompt_kind, names) if source else None
    kind = kind_of(source, args.prompt_kind) if source else None
    options = options_from(args)
    options = dataclasses.replace(options, signal=dataclasses.replace(options.signal, crop=crop))
    if not args.overwrite:
        _check_label_set(args.dest, labels)
    ids = pd.Index([str(record) for record in labels.record_id])
    found = {}

    def attach(folder: Path) -> None:
        rows = _rows_of_recordings(records, ids, folder, args.store is not None)
        found.update(attach_labels(folder, ids[rows], labels.values[rows], names, labels.label_set, prompts, prompt_kind=kind))

    common: dict[str, Any] = {"data_set": data_set, "command": command, "notes": notes, "extend": attach}
    if args.store is not None:
        reuse_store(records, args.store, args.dest, options, **common)
    else:
        pack(records, args.root, args.dest, options, reader=reader, **common)
    if prompts is None:
        print(f"no class texts for {labels.label_set}: zero-shot classification needs --prompts", file=sys.stderr)
    print_class_counts(found, names, f"the labels of {data_set}")
    return 0


def _rows_of_recordings(records: pa.Table, ids: pd.Index, folder: Path, reused: bool) -> np.ndarray:
    """Rows of the labels, one for each id: where an id occurs twice, that of the recording that was packed."""
    several = ids.duplicated(keep=False)
    rows = np.flatnonzero(~ids.duplicated())
    if not several.any() or reused or records["record_id"].to_pylist() != ids.tolist():
        return rows
    packed = packed_rows(ids.tolist(), folder / REJECTED_FILE)
    return np.array([packed.get(ids[int(row)], row) for row in rows])


def class_texts(source: str, kind: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Texts of exactly the classes ``names``, from a label set or a JSON file that may hold more.

    Raises:
        DataError: neither a label set nor a file, or a class has no text.
    """
    texts = load_prompts(source, kind)
    missing = [name for name in names if name not in texts]
    if missing:
        raise DataError(f"{source}: no class text for {', '.join(missing)}; give a file that has one with --prompts")
    return {name: texts[name] for name in names}


def _check_label_set(dest: Path, labels: LabelTable) -> None:
    if not (dest / LABELS_FILE).is_file():
        return
    description = read_object(dest / LABELS_FILE)
    stored = description.get("names")
    names = stored if isinstance(stored, list) else []
    if description.get("label_set") != labels.label_set or names != list(labels.names):
        raise DataError(
            f"{dest}: holds the labels of {description.get('label_set')} with {len(names)} classes; "
            "give --overwrite to replace it, or another --dest"
        )
