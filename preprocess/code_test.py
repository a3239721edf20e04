"""CODE-test (Ribeiro et al. 2020, Zenodo 3765780) to a manifest directory: 827 tracings, the gold standard of six classes.

``ecg_tracings.hdf5`` holds one array ``tracings``, 827 × 4096 × 12 at 400 Hz. Two things that its documentation leaves
open are decided by the numbers and printed:

- Lead order. The data set's README lists aVL, aVF, aVR, the authors' code repository aVR, aVL, aVF. The order is the one
  in which the limb leads obey Einthoven's and Goldberger's relations; if none does, nothing is written.
- Unit. The documentation says "scale 1e-4V" and in the same sentence names the factor 1000 to volts, which makes it
  millivolts. Of the two the one is taken that gives ordinary amplitudes; ``--units`` overrides it.

Tracings of 7 s (and of 10 s) are padded with zeros at both ends of the array. The padding is taken off and never counts as
signal. The sample rate goes from 400 to 500 Hz by rate (4096 samples would be 5120) and the middle 10 s are kept. Other
evaluations squeezed the 10.24 s into 10 s, which makes every heart 2.4 % faster.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from cmelt_plugin.data.code_test_annotations import CLASSES, DATA_SET, GOLD, LABEL_SET, read_annotations, record_ids
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.contract import Recording, Rejected, check_array, reader
from cmelt_plugin.data.readers.hdf5_files import dataset_of, open_hdf5
from cmelt_plugin.errors import DataError
from preprocess.data_sets.labelled import LabelTable, add_labelled_arguments, pack_labelled
from preprocess.data_sets.source import read_csv
from preprocess.packing.lead_relations import describe_fit, fit_limb_leads
from preprocess.packing.records import records_table

TRACINGS = "ecg_tracings.hdf5"
LAYOUT = "the layout of CODE-test: ecg_tracings.hdf5, attributes.csv, annotations/gold_standard.csv"
RATE = 400.0  # Hz
CHEST_LEADS = LEADS[6:]
MILLIVOLTS = {"1e-4V": 0.1, "mV": 1.0, "uV": 1e-3, "V": 1e3}
DOCUMENTED = ("1e-4V", "mV")

# Spread of a lead's samples (0.1 to 99.9 percentile, so nearly the QRS complex) in mV; median lead of the median record.
TYPICAL = 1.26  # measured on 500 records of PTB-XL and, equally, on 50 of the PhysioNet/CinC Challenge 2021
PLAUSIBLE = (0.2, 10.0)
MOST_JUDGED = 1000  # records looked at to decide on leads and unit

EXAMPLE = """example:
  python preprocess/code_test.py --root data/code-test --dest manifests/code-test
"""


class Layout(NamedTuple):
    """What the numbers say about an HDF5 file.

    Attributes:
        leads: names of its twelve columns.
        factor: millivolts per unit.
        notes: sentences that say how both were found.
    """

    leads: tuple[str, ...]
    factor: float
    notes: list[str]


@reader
def read_tracing(path: str) -> Recording:
    """Read one tracing without its padding.

    Args:
        path: as :func:`tracing_path` makes it.

    Raises:
        Rejected: the file or the tracing cannot be read.
        OSError, MemoryError: trouble of the machine.
    """
    file, _, location = path.rpartition("#")
    row, leads, factor = location.split(";")
    with open_hdf5(file) as handle:
        data = _tracings(handle)
        if int(row) >= data.shape[0]:
            raise Rejected("row", f"no tracing {row} among {data.shape[0]}")
        samples = np.array(data[int(row)], dtype=np.float64).T
    names = leads.split(",")
    return Recording(without_padding(samples) * float(factor), names, ["mV"] * len(names), RATE)


def tracing_path(row: int, layout: Layout) -> str:
    """What :func:`read_tracing` needs to know of tracing ``row``, as one string relative to the data set's folder."""
    return f"{TRACINGS}#{row};{','.join(layout.leads)};{layout.factor:g}"


def without_padding(signal: np.ndarray) -> np.ndarray:
    """``[leads, samples]`` without the samples at either end at which every lead is zero; unchanged if all are."""
    real = np.flatnonzero(signal.any(axis=0))
    return signal[:, real[0] : real[-1] + 1] if len(real) else signal


def examine(path: Path, units: str = "auto") -> Layout:
    """Find lead order and unit of an HDF5 file of tracings.

    Args:
        path: the file.
        units: key of :data:`MILLIVOLTS`, or ``auto``.

    Raises:
        DataError: the file is missing, or not such a file; no lead order fits; or the amplitudes are implausible.
    """
    tracings = _from_file(_first_tracings, path).transpose(0, 2, 1)
    try:
        fit = fit_limb_leads(tracings[:, :6])
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    names = (*fit.names, *CHEST_LEADS)
    amplitude = _amplitude(tracings)
    choice, note = choose_unit(amplitude, units, path)
    order = f"lead order found by Einthoven's and Goldberger's relations: {', '.join(names)} ({describe_fit(fit)})"
    return Layout(names, MILLIVOLTS[choice], [order, note])


def choose_unit(amplitude: float, units: str, path: Path) -> tuple[str, str]:
    """Which unit the numbers have, and a sentence about it.

    Args:
        amplitude: spread of the median lead of the median record, in the file's numbers.
        units: ``auto``, or what the user says.
        path: for the message.

    Raises:
        DataError: ``auto``, and neither of the documented units gives between 0.2 and 10 mV.
    """
    if units != "auto":
        return (
            units,
            f"unit {units} by --units: the median lead of the median record spans {amplitude * MILLIVOLTS[units]:.3g} mV",
        )
    spans = {unit: amplitude * MILLIVOLTS[unit] for unit in DOCUMENTED}
    listed = ", ".join(f"{span:.3g} mV if the unit is {unit}" for unit, span in spans.items())
    possible = [unit for unit, span in spans.items() if PLAUSIBLE[0] <= span <= PLAUSIBLE[1]]
    if not possible:
        raise DataError(
            f"{path}: the median lead of the median record spans {listed}; between {PLAUSIBLE[0]:g} and {PLAUSIBLE[1]:g} mV "
            f"are plausible. Say what the unit is with --units {'|'.join(MILLIVOLTS)}"
        )
    best = min(possible, key=lambda unit: abs(np.log(spans[unit] / TYPICAL)))
    return best, f"unit {best} by amplitude: the median lead of the median record spans {listed}; ordinary is {TYPICAL:g} mV"


def read_records(root: Path, layout: Layout, limit: int | None = None) -> tuple[pa.Table, LabelTable]:
    """Table of the tracings below ``root``, all in the split "test", and their gold standard.

    Raises:
        DataError: a table is missing or malformed, or has another number of rows than there are tracings.
    """
    path = root / TRACINGS
    count = _from_file(_count, path)
    gold = read_annotations(root / "annotations" / f"{GOLD}.csv")
    attributes = read_csv(root / "attributes.csv", ["age", "sex"], LAYOUT)
    for name, rows in ((f"annotations/{GOLD}.csv", len(gold)), ("attributes.csv", len(attributes))):
        if rows != count:
            raise DataError(f"{root / name}: {rows} rows for {count} tracings in {TRACINGS}; expected one row per tracing")
    ids = record_ids(count)[:limit]
    n = len(ids)
    sex = attributes["sex"].str.upper()
    records = records_table(
        record_id=ids,
        path=[tracing_path(row, layout) for row in range(n)],
        subject_id=ids,  # each tracing is another patient (README)
        sex=sex.where(sex.isin(["F", "M"]), "")[:n],
        age=pd.to_numeric(attributes["age"], errors="coerce").to_numpy(dtype=np.float32)[:n],
        split=["test"] * n,
    )
    return records, LabelTable(LABEL_SET, list(CLASSES), ids, gold[:n].astype(np.float32))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_labelled_arguments(parser, splits=False)
    parser.add_argument(
        "--units", choices=("auto", *MILLIVOLTS), default="auto", help="unit of the numbers (default: by amplitude, see above)"
    )
    args = parser.parse_args(argv)
    layout = examine(args.root / TRACINGS, args.units)
    records, labels = read_records(args.root, layout, args.limit)
    for note in layout.notes:
        print(note)
    notes = [
        *layout.notes,
        f"annotators' tables: {os.path.abspath(args.root / 'annotations')}",
        "zero padding at both ends of the file's rows taken off; resampled from 400 Hz to 500 Hz by rate; middle 10 s kept",
    ]
    return pack_labelled(
        records,
        labels,
        args,
        data_set=DATA_SET,
        command="preprocess/code_test.py",
        notes=notes,
        reader=read_tracing,
        crop="centre",
    )


def _from_file(read: Callable[[Path], Any], path: Path) -> Any:
    """What ``read`` finds in the file of tracings, without which nothing can be done."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected {LAYOUT}. The tracings are at https://doi.org/10.5281/zenodo.3765780")
    try:
        return read(path)
    except Rejected as reason:
        if reason.code == "unreadable":
            raise DataError(f"{path}: not an HDF5 file, or truncated ({reason}); copy it again") from None
        raise DataError(f"{path}: {reason}") from None


@reader
def _count(path: Path) -> int:
    with open_hdf5(path) as handle:
        return len(_tracings(handle))


@reader
def _first_tracings(path: Path) -> np.ndarray:
    with open_hdf5(path) as handle:
        return np.asarray(_tracings(handle)[:MOST_JUDGED], dtype=np.float32)


def _tracings(handle: Any) -> Any:
    """The array of an open file.

    Raises:
        Rejected: it is not there, of another shape, or not in the file itself.
    """
    data: Any = dataset_of(handle, "tracings")
    shape = getattr(data, "shape", None)
    if shape is None or len(shape) != 3 or shape[2] != len(LEADS) or 0 in shape:
        content = f"tracings {shape}" if shape is not None else f"{', '.join(handle) or 'nothing'}"
        raise Rejected("header", f"expected an array tracings of records × samples × 12 leads, found {content}")
    if data.dtype.kind not in "iuf":
        raise Rejected("header", f"tracings holds {data.dtype}, not numbers")
    check_array(handle.filename, min(MOST_JUDGED, shape[0]) * math.prod(shape[1:]))
    return data


def _amplitude(tracings: np.ndarray) -> float:
    """Spread of the median lead of the median record, in the file's numbers; 0 where there is no signal."""
    spans = []
    for record in tracings:
        signal = without_padding(record)
        if signal.any() and np.isfinite(signal).all():
            low, high = np.percentile(signal, [0.1, 99.9], axis=1)
            spans.append(np.median(high - low))
    return float(np.median(spans)) if spans else 0.0


if __name__ == "__main__":
    sys.exit(run(main))
