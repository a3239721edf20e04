"""Options of ``preprocess/table.py``."""

from __future__ import annotations

import argparse
from pathlib import Path

from cmelt_plugin import option_types
from preprocess.data_sets.labelled import add_labelled_arguments
from preprocess.packing.recording import REJECT, ZERO


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    """Add every option; the command must call :func:`preprocess.data_sets.labelled.settle_defaults`."""
    parser.add_argument("--table", type=Path, required=True, help="CSV, TSV or Parquet, one row per recording")
    parser.add_argument("--data-set", help="name of the data set (default: the table's)")
    add_labelled_arguments(parser, optional=True)
    parser.set_defaults(split=None)  # depends on whether there are labels
    _add_columns(parser.add_argument_group("columns of the table"))
    _add_labels(parser.add_argument_group("labels"))
    add_file_arguments(parser.add_argument_group("what the numbers of files mean that do not say it"))


def _add_columns(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--path-column", default="path", help="file of the recording (default: path)")
    group.add_argument("--id-column", help="id of the recording (default: its path)")
    group.add_argument("--subject-column", help="patient; a patient's recordings go to one split")
    report = group.add_mutually_exclusive_group()
    report.add_argument("--report-column", help="report text, which is divided into statements")
    report.add_argument("--report-columns", type=names, metavar="A,B,...", help="one column per statement of the report")
    group.add_argument("--split-column", help="train, valid or test (default: by a hash of the patient)")
    group.add_argument("--sex-column", help="F or M")
    group.add_argument("--age-column", help="years")
    group.add_argument("--variable-column", help="variable or data set of the file")
    group.add_argument("--row-column", help="row of the array, from 0")
    group.add_argument("--rate-column", help="sample rate in Hz")


def _add_labels(group: argparse._ArgumentGroup) -> None:
    either = group.add_mutually_exclusive_group()
    either.add_argument("--label-columns", type=names, metavar="A,B,...", help="one column of 0, 1 or nothing per class")
    either.add_argument("--label-column", help="one column that names the classes")
    group.add_argument("--separator", type=_separator, default=";", help="between class names (default ;)")
    group.add_argument("--classes", type=names, metavar="A,B,...", help="classes in their order; others are ignored")
    group.add_argument(
        "--empty",
        choices=("unknown", "absent"),
        default="unknown",
        help="what an empty --label-column says of every class (default unknown)",
    )
    group.add_argument("--multi-class", action="store_true", help="exactly one class per recording; anything else is an error")
    group.add_argument("--label-set", help="name of the label set (default: the data set's)")


def add_file_arguments(group: argparse._ArgumentGroup) -> None:
    """Add what :class:`cmelt_plugin.data.readers.arrays.ArrayReader` has to be told, and which part is kept."""
    group.add_argument("--leads", type=names, metavar="I,II,...", help="leads in the order of the file")
    group.add_argument("--units", choices=("mV", "uV", "V", "nV"), help="unit of the numbers")
    group.add_argument("--gain", type=option_types.positive_number, default=1.0, help="numbers per unit (default 1)")
    group.add_argument("--sample-rate", type=option_types.positive_number, help="Hz")
    group.add_argument("--variable", default="", help="variable of .mat and .npz files, data set of HDF5 files")
    group.add_argument(
        "--missing-leads",
        choices=(REJECT, ZERO),
        default=REJECT,
        help="recordings of fewer than 12 leads: reject them (default), or accept them with zeros for the other leads",
    )
    group.add_argument(
        "--crop", choices=("start", "centre"), default="start", help="which 10 s of longer recordings (default start)"
    )


def names(text: str) -> list[str]:
    """Type of an option: names with commas between."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError("no name")
    return found


def _separator(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("empty; give what stands between class names")
    return text
