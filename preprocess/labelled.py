"""From records and their labels to a labelled manifest directory: what the commands of the evaluation sets share."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import load_prompts
from preprocess.labels import attach_labels, print_class_counts
from preprocess.packing import add_arguments, options_from, pack
from preprocess.recording import Recording
from preprocess.reuse import reuse_store
from preprocess.wfdb_files import read_wfdb

ALL_BUT_ONE_LEAD = 11


class LabelTable(NamedTuple):
    """Labels of the records of a data set."""

    label_set: str
    """Name of the label set; its class texts are ``cmelt_plugin/prompts/<label_set>.json``."""
    names: Sequence[str]
    record_id: Sequence[str]
    values: np.ndarray
    """float32 [n, C]: 1 present, 0 absent, NaN unknown."""


def add_labelled_arguments(parser: argparse.ArgumentParser, splits: bool = True) -> None:
    """Add the options of the packing commands, with defaults for evaluation, and two more.

    Test sets must be those of the published figures, so records with flat leads or without a report stay in.
    """
    add_arguments(parser, splits)
    parser.set_defaults(allow_flat_leads=ALL_BUT_ONE_LEAD, allow_no_report=True)
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

    Args:
        records: table of ``RECORDS_SCHEMA``; empty ``split`` = by subject hash.
        labels: rows in any order; records without one are unknown throughout.
        args: parsed arguments of :func:`add_labelled_arguments`.
        data_set: name written to the meta files.
        command: the command that runs, for ``manifest.json``.
        notes: sentences about the data for ``manifest.json``.
        reader: top-level function from a path to a recording.
        crop: ``start`` or ``centre``, which 10 s of a longer recording are kept.

    Raises:
        DataError: as :func:`preprocess.packing.pack` and :func:`preprocess.reuse.reuse_store`; or class texts that do
            not cover the classes.
    """
    names = list(labels.names)
    prompts = class_texts(args.prompts or labels.label_set, args.prompt_kind, names)
    options = options_from(args)
    options = dataclasses.replace(options, signal=dataclasses.replace(options.signal, crop=crop))
    if args.store is not None:
        reuse_store(records, args.store, args.dest, options, data_set=data_set, command=command, notes=notes)
    else:
        pack(records, args.root, args.dest, options, data_set=data_set, command=command, notes=notes, reader=reader)
    found = attach_labels(args.dest, pd.Index(labels.record_id), labels.values, names, labels.label_set, prompts)
    print_class_counts(found, names, f"the labels of {data_set}")
    return 0


def class_texts(source: str, kind: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Texts of exactly the classes ``names``, from a label set or a JSON file that may hold more.

    Raises:
        DataError: a class has no text.
    """
    texts = load_prompts(source, kind)
    missing = [name for name in names if name not in texts]
    if missing:
        raise DataError(f"{source}: no class text for {', '.join(missing)}")
    return {name: texts[name] for name in names}
