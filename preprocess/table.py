"""A table of recordings of your own to a manifest directory, for evaluation, for pre-training, or both.

The table (CSV, TSV or Parquet) has one row per recording. Its path column names, relative to --root, files of any format that
is read (docs/formats.md), among them WFDB records and .mat, .npy, .npz, .h5, .csv, .tsv and .txt files; of files with several
arrays FILE:VARIABLE, of arrays with several recordings FILE[12] or FILE:VARIABLE[12], or --variable and --row-column. Arrays do
not say what their leads, unit and sample rate are; --leads, --units and --sample-rate say it, or a JSON file beside each.

With --label-columns or --label-column the result is a labelled directory for probes, fine-tuning and zero-shot
classification; with --report-column or --report-columns it has texts for pre-training and retrieval. Without --split-column,
patients are divided by --split: 0.7 0.1 0.2 with labels, 0.95 0.025 0.025 without, unless you say otherwise.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from cmelt_plugin.data.leads import LEADS, lead_keep_mask
from cmelt_plugin.data.readers.arrays import TEXT, ArrayReader, Place, is_array
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.front_end import FileReader, describes_itself
from cmelt_plugin.prompts import class_names, label_sets
from preprocess.data_sets.labelled import LabelTable, pack_labelled, settle_defaults
from preprocess.data_sets.table_arguments import add_table_arguments
from preprocess.data_sets.table_labels import check_multi_class, labels_of_columns, labels_of_names, split_names
from preprocess.data_sets.table_source import read_table
from preprocess.packing.pack import options_from, pack
from preprocess.packing.recording import REJECT, ZERO
from preprocess.packing.records import records_table
from preprocess.packing.splits import DEFAULT_FRACTIONS

SPLIT_OF_NAME = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SEX_OF_NAME = {"f": "F", "female": "F", "w": "F", "m": "M", "male": "M"}
LABELLED_FRACTIONS = (0.7, 0.1, 0.2)

EXAMPLE = """examples:
  python preprocess/table.py --table ours.csv --root /data/ours --dest manifests/ours \\
      --path-column file --subject-column patient --label-columns AF,LBBB,RBBB --split-column split
  python preprocess/table.py --table ours.parquet --root /data/ours --dest manifests/ours --path-column file \\
      --leads I,II,III,aVR,aVL,aVF,V1,V2,V3,V4,V5,V6 --units uV --sample-rate 400 --label-column diagnoses --separator ";"
  python preprocess/table.py --table watch.csv --root /data/watch --dest manifests/watch --path-column file \\
      --leads I --missing-leads zero --units mV --sample-rate 512 --label-columns AF --prompts texts.json
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_table_arguments(parser)
    args = parser.parse_args(argv)
    labelled = bool(args.label_columns or args.label_column)
    settle_defaults(args, labelled)
    args.split = args.split or (LABELLED_FRACTIONS if labelled else DEFAULT_FRACTIONS)
    if not labelled and not _report_columns(args) and not args.allow_no_report:
        raise DataError(
            "nothing to learn from: name labels (--label-columns or --label-column) or texts (--report-column "
            "or --report-columns); --allow-no-report packs recordings alone"
        )
    if not labelled and args.store is not None:
        raise DataError(f"--store {args.store}: goes with labels; name them (--label-columns or --label-column)")
    data_set = args.data_set or args.table.stem
    table = _read(args)
    places = _places(table, args)
    if args.store is None:
        _check_arrays(places, args)
    records, notes = _records(table, places, args)
    arrays = ArrayReader(tuple(args.leads or ()), args.units or "mV", args.gain, args.sample_rate, args.variable)
    reader = FileReader(arrays if _are_described(args) else None)
    common = {"data_set": data_set, "command": "preprocess/table.py", "notes": notes, "reader": reader}
    if not labelled:
        return pack(records, args.root, args.dest, options_from(args), **common)
    ids = records["record_id"].to_pylist()
    label_set = args.label_set or data_set
    values, names = _labels(table, ids, args, label_set)
    return pack_labelled(records, LabelTable(label_set, names, ids, values), args, crop=args.crop, **common)


def _read(args: argparse.Namespace) -> pd.DataFrame:
    """The rows and columns of the table that are needed."""
    single = ("path", "id", "subject", "split", "rate", "variable", "row", "sex", "age", "label")
    columns = [getattr(args, f"{name}_column") for name in single] + [*(args.label_columns or ()), *_report_columns(args)]
    return read_table(args.table, [name for name in columns if name], args.separator)[: args.limit]


def _report_columns(args: argparse.Namespace) -> list[str]:
    return [args.report_column] if args.report_column else list(args.report_columns or ())


def _reports(table: pd.DataFrame, args: argparse.Namespace) -> list[str] | list[tuple[str, ...]] | None:
    """Report of every recording, a text or the tuple of its statements; None where no column is named."""
    if args.report_column:
        return table[args.report_column].tolist()
    columns = [table[name] for name in args.report_columns or ()]
    return [tuple(filter(None, cells)) for cells in zip(*columns)] if columns else None


def _places(table: pd.DataFrame, args: argparse.Namespace) -> list[Place]:
    """Where every recording is.

    Raises:
        DataError: a cell without a path, or a sample rate or row that is no number.
    """
    places = []
    for number, text in enumerate(table[args.path_column], start=1):
        where = f"{args.table}, row {number}"
        if not text or "\t" in text:
            raise DataError(f"{where}, column {args.path_column}: {text!r} is no path")
        place = Place.parse(text)
        if args.variable_column:
            place = place._replace(variable=table[args.variable_column].iloc[number - 1])
        if args.row_column:
            value = _number(table[args.row_column].iloc[number - 1], f"{where}, column {args.row_column}")
            if value < 0 or value != int(value):
                raise DataError(f"{where}, column {args.row_column}: {value:g} is no row of an array; rows count from 0")
            place = place._replace(row=int(value))
        if args.rate_column:
            rate = _number(table[args.rate_column].iloc[number - 1], f"{where}, column {args.rate_column}")
            place = place._replace(rate=rate)
        places.append(place)
    return places


def _check_arrays(places: Sequence[Place], args: argparse.Namespace) -> None:
    """Refuse files that say nothing of leads, unit or rate where the user does not either.

    Raises:
        DataError: an option is missing, or the leads are not those of an ECG.
    """
    arrays = [place for place in places if is_array(str(args.root / place.file))]
    if not _are_described(args):
        arrays = [place for place in arrays if not describes_itself(str(args.root / place.file))]
    if not arrays:
        return
    missing = []
    if not args.leads and any(Path(place.file).suffix.lower() not in TEXT for place in arrays):
        missing.append(f"--leads, their leads in the order of the file, e.g. {','.join(LEADS)}")
    if not args.units:
        missing.append("--units, mV, uV, V or nV")
    if args.sample_rate is None and not args.rate_column:
        missing.append("--sample-rate in Hz, or --rate-column")
    if missing:
        raise DataError(
            f"{args.table}: {len(arrays)} of {len(places)} recordings, such as {arrays[0].file}, are in files that do not say "
            f"what their numbers are; give {'; '.join(missing)}"
        )
    if args.leads:
        kept = lead_keep_mask(args.leads)
        if args.missing_leads == REJECT and not kept.all():
            raise DataError(f"--leads {','.join(args.leads)}: fewer than 12; accept that with --missing-leads {ZERO}")


def _are_described(args: argparse.Namespace) -> bool:
    """Whether the user says what the numbers in files of arrays are."""
    return bool(args.leads or args.units or args.sample_rate is not None or args.rate_column)


def _records(table: pd.DataFrame, places: Sequence[Place], args: argparse.Namespace) -> tuple[pa.Table, list[str]]:
    """Table of ``RECORDS_SCHEMA``, and notes about it.

    Raises:
        DataError: a split that is none, or a record without id.
    """
    column = args.id_column
    if column:
        ids = table[column].tolist()
        if "" in ids:
            raise DataError(f"{args.table}, row {ids.index('') + 1}: no id in column {column}")
    else:
        rows = [f"[{place.row}]" if args.row_column else "" for place in places]
        ids = [f"{path}{row}" for path, row in zip(table[args.path_column], rows)]
    notes = [f"table: {args.table.name}"]
    subjects = table[args.subject_column].tolist() if args.subject_column else [""] * len(ids)
    unknown = subjects.count("")
    if unknown:
        notes.append(f"{unknown} of {len(ids)} recordings name no subject and count as subjects of their own")
    subjects = [subject or record for subject, record in zip(subjects, ids)]
    split = _splits(table[args.split_column].tolist(), ids, args) if args.split_column else None
    if split is not None:
        shared = Counter(subject for subject, _ in set(zip(subjects, split)))
        several = sum(count > 1 for count in shared.values())
        if several:
            notes.append(f"{several} subjects have recordings in more than one split")
    sex = _sexes(table[args.sex_column], notes) if args.sex_column else None
    age = _ages(table[args.age_column], notes) if args.age_column else None
    for note in notes[1:]:
        print(f"warning: {note}", file=sys.stderr)
    records = records_table(
        record_id=ids,
        path=[place.encode() for place in places],
        subject_id=subjects,
        report=_reports(table, args),
        sex=sex,
        age=age,
        split=split,
    )
    return records, notes


def _sexes(cells: pd.Series, notes: list[str]) -> pd.Series:
    """ "F", "M" or "" for each cell; how many say something else is added to the notes."""
    found = cells.str.lower().map(SEX_OF_NAME).fillna("")
    _note_unread(cells, found == "", f"F or M in column {cells.name}", notes)
    return found


def _ages(cells: pd.Series, notes: list[str]) -> pd.Series:
    """Years, NaN where a cell is empty or says something else; how many do is added to the notes."""
    found = pd.to_numeric(cells, errors="coerce").astype(float)
    found = found.where(np.isfinite(found) & (found >= 0))
    _note_unread(cells, found.isna(), f"number of years in column {cells.name}", notes)
    return found


def _note_unread(cells: pd.Series, unread: pd.Series, expected: str, notes: list[str]) -> None:
    odd = cells[unread & (cells != "")]
    if len(odd):
        example = f"{odd.iloc[0]!r:.40}"
        notes.append(f"{len(odd)} of {len(cells)} recordings have no {expected} (such as {example}): taken as unknown")


def _splits(cells: Sequence[str], ids: Sequence[str], args: argparse.Namespace) -> list[str]:
    found = [SPLIT_OF_NAME.get(cell.lower(), "") for cell in cells]
    if "" in found:
        row = found.index("")
        raise DataError(
            f"{args.table}, record {ids[row]}, column {args.split_column}: {cells[row]!r} is not train, valid or test"
        )
    return found


def _labels(table: pd.DataFrame, ids: Sequence[str], args: argparse.Namespace, label_set: str) -> tuple[np.ndarray, list[str]]:
    """Labels float32 [n, C] and the classes.

    Raises:
        DataError: a cell is no label, or ``--multi-class`` is not true.
    """
    if args.label_columns:
        names = list(args.label_columns)
        values = labels_of_columns(table, names, ids, args.table)
    else:
        classes = args.classes or (class_names(label_set) if label_set in label_sets() else None)
        cells = table[args.label_column].tolist()
        named = [[cell] if cell else [] for cell in cells] if args.multi_class else split_names(cells, args.separator)
        values, names, others = labels_of_names(named, classes, args.empty)
        if others:
            listed = ", ".join(f"{name} ({count})" for name, count in sorted(others.items(), key=lambda item: -item[1])[:10])
            print(
                f"warning: {len(others)} names in {args.label_column} are no classes and are ignored: {listed}", file=sys.stderr
            )
        if not names or not (values == 1).any():
            raise DataError(f"{args.table}: no recording has a class in column {args.label_column}")
    if args.multi_class:
        check_multi_class(values, ids, args.table)
    return values, names


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise DataError(f"{where}: {text!r} is not a number")
    return value


if __name__ == "__main__":
    sys.exit(run(main))
