"""ECG–echo pairs: recordings that have an echocardiogram near in time, as a manifest directory to train and evaluate on.

Recordings come from MIMIC-IV-ECG below --root, or from a table (--recordings: columns record_id, path, subject_id, time);
echocardiograms from MIMIC-IV-ECHO (--echo-root: lists of videos, structured measurements, or both) or from a table
(--echo-table: columns teacher_id, subject_id, time). Each echocardiogram is paired with the nearest recording of its subject.

Rows with a teacher have the source ecg_echo, teacher_id, delta_hours (echo minus ECG) and, where it was measured, lvef in per
cent. --with-text adds the data set's other recordings that have a report, as ecg_text; --measured adds those whose
echocardiogram was measured, but not filmed. Labels lvef_lt_30, lvef_lt_40 and lvef_lt_50 are strict. A subject is in one split
only, over both sources. Notes in manifest.json say how many there were at every stage, and which rule gave ejection fractions.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cmelt_plugin import option_types
from cmelt_plugin.data.readers.arrays import ArrayReader, Place, is_array
from cmelt_plugin.data.readers.wfdb_records import read_wfdb
from cmelt_plugin.data.teacher import open_teacher
from cmelt_plugin.errors import DataError
from preprocess.data_sets.labelled import LabelTable, add_labelled_arguments, pack_labelled
from preprocess.data_sets.mimic_iv_echo import read_echoes
from preprocess.data_sets.table_arguments import add_file_arguments, names
from preprocess.echo.rows import STUDY, VIDEO, Choice, choose_rows, of_echoes, with_columns
from preprocess.echo.tables import read_echo_table, read_recordings
from preprocess.mimic_iv_ecg import read_records
from preprocess.packing.pack import options_from, pack
from preprocess.packing.reuse import reuse_store

THRESHOLDS = (30, 40, 50)
"""Per cent; a label is the ejection fraction strictly below."""
FRACTIONS = (0.7, 0.1, 0.2)
MIMIC = "mimic-iv-ecg"
EXAMPLE = """examples:
  python preprocess/echo_pairs.py --root /data/mimic-iv-ecg-1.0 --echo-root /data/mimic-iv-echo-1.0 \\
      --teacher teachers/echo-clip --with-text --dest manifests/mimic-echo
  python preprocess/echo_pairs.py --root /data/ours --recordings ecg.csv --echo-table echo.csv --lvef-column ef \\
      --window-hours 24 --dest manifests/ours-echo
"""


def parser() -> argparse.ArgumentParser:
    """Command line."""
    arguments = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_labelled_arguments(arguments)
    arguments.set_defaults(split=FRACTIONS, allow_flat_leads=0)
    arguments.add_argument("--recordings", type=Path, help="table of recordings (default: MIMIC-IV-ECG's own lists)")
    arguments.add_argument("--report-column", help="column of --recordings with the report")
    arguments.add_argument("--data-set", help=f"name of the recordings' data set (default: {MIMIC}, or the table's)")
    echo = arguments.add_mutually_exclusive_group(required=True)
    echo.add_argument("--echo-root", type=Path, help="folder of MIMIC-IV-ECHO")
    echo.add_argument("--echo-table", type=Path, help="table of echocardiograms; those without teacher_id were only measured")
    arguments.add_argument("--lvef-column", help="column of --echo-table with the ejection fraction in per cent")
    arguments.add_argument(
        "--label-columns", type=names, metavar="A,B,...", help="columns of --echo-table with 0, 1 or nothing"
    )
    arguments.add_argument("--teacher", type=Path, help="sidecar; echocardiograms that it lacks count as not filmed")
    arguments.add_argument(
        "--level", choices=(STUDY, VIDEO), help="what a teacher_id names (default: as --teacher, else study)"
    )
    arguments.add_argument(
        "--window-hours",
        type=option_types.positive_number,
        default=Choice().window_hours,
        help="largest distance in time (default: %(default)g, which are 7 days; 24 and 720 are usual, too)",
    )
    arguments.add_argument(
        "--every-recording", action="store_true", help="pair each recording in the window, not only the nearest of an echo"
    )
    arguments.add_argument("--measured", action="store_true", help="also pairs with echocardiograms that no teacher has seen")
    arguments.add_argument("--with-text", action="store_true", help="also the recordings without a pair that have a report")
    add_file_arguments(arguments.add_argument_group("what the numbers of --recordings' files mean that do not say it"))
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Write the manifest directory.

    Raises:
        DataError: tables that lack a column, no pair, or as :func:`preprocess.packing.pack`.
    """
    args = parser().parse_args(argv)
    if args.echo_table is None and (args.lvef_column or args.label_columns):
        raise DataError("--lvef-column, --label-columns: name columns of --echo-table, which is missing")
    options = options_from(args)
    teacher = open_teacher(args.teacher) if args.teacher else None
    level = args.level or (teacher.info["level"] if teacher else STUDY)
    if teacher is not None and level != teacher.info["level"]:
        raise DataError(f"--level {level}: {args.teacher} is of level {teacher.info['level']}; leave --level out")
    records = _recordings(args)
    if args.echo_root:
        echoes = read_echoes(args.echo_root)
    else:
        echoes = read_echo_table(args.echo_table, args.lvef_column, args.label_columns or ())
    choice = Choice(args.window_hours, args.every_recording, args.measured, args.with_text, level)
    rows, notes = choose_rows(records, echoes, choice, teacher)
    print("\n".join(notes))
    notes += [f"label lvef_lt_{limit}: lvef < {limit}" for limit in THRESHOLDS]
    table = with_columns(records, rows)
    labels = _labels(rows, echoes.table, table, args)
    reader: Any = read_wfdb
    if args.recordings is not None:
        reader = ArrayReader(tuple(args.leads or ()), args.units or "mV", args.gain, args.sample_rate, args.variable)
    data_set = args.data_set or (MIMIC if args.recordings is None else args.recordings.stem)
    common: dict[str, Any] = {"data_set": data_set, "command": "preprocess/echo_pairs.py", "notes": notes}
    if not np.isnan(labels.values).all():
        return pack_labelled(table, labels, args, crop=args.crop, reader=reader, **common)
    print("no ejection fraction and no label of any row is known, so the directory gets no labels", file=sys.stderr)
    if args.store is None:
        return pack(table, args.root, args.dest, options, reader=reader, **common)
    reuse_store(table, args.store, args.dest, options, **common)
    return 0


def _recordings(args: argparse.Namespace) -> pa.Table:
    if args.recordings is None:
        return read_records(args.root, args.limit)
    records = read_recordings(args.recordings, args.report_column)[: args.limit]
    arrays = [path for path in records["path"].to_pylist() if is_array(str(args.root / Place.decode(path).file))]
    if arrays and not (args.leads and args.units and args.sample_rate):
        raise DataError(
            f"{args.recordings}: {Place.decode(arrays[0]).file} does not say what its numbers are; give --leads, --units and "
            "--sample-rate"
        )
    return records


def _labels(rows: pd.DataFrame, echoes: pd.DataFrame, table: pa.Table, args: argparse.Namespace) -> LabelTable:
    """Labels of the rows: ejection fractions below :data:`THRESHOLDS`, then columns of the user's table."""
    lvef, more = rows["lvef"].to_numpy(float), list(args.label_columns or ())
    values = np.stack([np.where(np.isnan(lvef), np.nan, lvef < limit) for limit in THRESHOLDS], axis=1)
    if more:
        values = np.concatenate([values, of_echoes(rows, echoes[more].to_numpy(float))], axis=1)
    classes = [*(f"lvef_lt_{limit}" for limit in THRESHOLDS), *more]
    label_set = (args.data_set or args.echo_table.stem) if more else "lvef"
    return LabelTable(label_set, classes, table["record_id"].to_pylist(), values.astype(np.float32))


if __name__ == "__main__":
    sys.exit(run(main))
