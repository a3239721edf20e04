"""ECG files of any format that is read (docs/formats.md) to WFDB, NumPy, CSV or DICOM, without a loss that is not said.

Every file is read again after it was written and compared: the table says how far the largest sample is from the original,
next to the step in which the original counts, and what did not come across. Recordings that cannot be read, or not be written
in that format, are reported and skipped, and the exit code is 1. No file carries a patient's name. What is doubtful about a
recording is named, not mended.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable

import numpy as np

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.plausibility import describe_reasons
from cmelt_plugin.data.readers.record_paths import record_stem
from cmelt_plugin.data.readers.text_files import listed
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.doubts import doubts
from cmelt_plugin.intake.reading import FORMATS, format_of, read_ecg
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.windows import best_window, windows
from cmelt_plugin.intake.writing.arrays import write_csv, write_npy
from cmelt_plugin.intake.writing.dicom import write_dicom
from cmelt_plugin.intake.writing.digital import step_of
from cmelt_plugin.intake.writing.wfdb import write_wfdb
from cmelt_plugin.option_types import command_parser, positive_number
from cmelt_plugin.tables import DASH, markdown

WRITERS: dict[str, Callable[[Path, Recording], list[Path]]] = {
    "wfdb": write_wfdb,
    "npy": write_npy,
    "csv": write_csv,
    "dicom": write_dicom,
}
FACTS = ("start", "sex", "age", "device", "filters")
HEAD = ("recording", "format", "leads", "Hz", "s", "step (µV)", "largest difference (µV)", "lost", "notes and doubts")
EXAMPLE = """examples:
  python -m cmelt_plugin.convert ecg.xml ecg.scp --to wfdb --dest converted
  python -m cmelt_plugin.convert holter.edf --to dicom --best 10 --dest converted
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_parser("cmelt_plugin.convert", __doc__, EXAMPLE)
    result.add_argument(
        "inputs", nargs="+", metavar="IN", help="files; WFDB records with or without suffix; FILE[ROW] of arrays"
    )
    result.add_argument("--to", choices=list(WRITERS), required=True, help="format to write")
    result.add_argument("--dest", type=Path, default=Path("."), help="folder to write into, which is made (this one)")
    part = result.add_mutually_exclusive_group()
    part.add_argument("--best", type=positive_number, metavar="SECONDS", help="only the window of the highest quality index")
    part.add_argument("--windows", type=positive_number, metavar="SECONDS", help="all whole windows, a file each")
    result.add_argument("--overwrite", action="store_true", help="replace files that are there")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = parser().parse_args(argv)
    names = _names(arguments.inputs)
    arguments.dest.mkdir(parents=True, exist_ok=True)
    rows, failed = [], 0
    for path in arguments.inputs:
        try:
            kind = next(name for name, module in FORMATS.items() if module is format_of(path))
            for suffix, recording in _recordings(path, arguments.best, arguments.windows):
                stem = arguments.dest / f"{names[path]}{suffix}"
                rows.append(
                    [stem.name, kind.partition(",")[0], *_converted(stem, recording, arguments.to, arguments.overwrite)]
                )
        except DataError as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)
    if rows:
        print(markdown(HEAD, rows, numeric=False), end="")
    return 1 if failed else 0


def _names(paths: Sequence[str]) -> dict[str, str]:
    """Name of what each input becomes: its own, in the letters that every format allows; with its suffix where two are alike.

    Raises:
        DataError: two inputs would become the same.
    """
    files = {path: Path(record_stem(path)).name for path in paths}
    short = {path: _plain(name if "[" in name else Path(name).stem) for path, name in files.items()}
    many = Counter(name.lower() for name in short.values())
    names = {path: name if many[name.lower()] == 1 else _plain(files[path]) for path, name in short.items()}
    taken: dict[str, str] = {}
    for path, name in names.items():
        same = taken.setdefault(name.lower(), path)
        if same != path:
            raise DataError(f"{path}: would become {name}, as {same} does; convert them into different folders (--dest)")
    return names


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_") or "ecg"


def _recordings(path: str, best: float | None, pieces: float | None) -> Iterator[tuple[str, Recording]]:
    """What is to be written of a file: what to add to its name, and the recording."""
    if best is not None:
        yield "", best_window(path, best)
    elif pieces is not None:
        for number, recording in enumerate(windows(path, pieces)):
            yield f"_{number:05d}", recording
    else:
        yield "", read_ecg(path)


def _converted(stem: Path, recording: Recording, kind: str, overwrite: bool) -> list[str]:
    """Write a recording, read it again, and compare: the cells of a row of the table.

    Raises:
        DataError: a file is there already, or what was written is not the recording, and is not kept.
    """
    there = [file for file in stem.parent.glob(f"{stem.name}.*") if not overwrite]
    if there:
        raise DataError(f"{there[0]}: is there already; --overwrite replaces it")
    # Elsewhere first: what does not come back as it was replaces nothing.
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=stem.parent) as folder:
        try:
            files = WRITERS[kind](Path(folder) / stem.name, recording)
            again = read_ecg(str(files[0]))
        except (DataError, UnicodeEncodeError) as error:
            what = str(error).replace(f"{folder}/", "")
            raise DataError(f"{stem.name} cannot be converted to {kind}: {what}") from None
        renamed = _renamed(stem.name, recording, again)
        for file in files:
            file.replace(stem.parent / file.name)
    original, copy = recording.signal.astype(np.float64), again.signal.astype(np.float64)
    difference = float(np.nanmax(np.abs(original - copy), initial=0)) * 1000
    lost = [f"names of leads ({', '.join(renamed)})"] if renamed else []
    if not np.array_equal(np.isnan(original), np.isnan(copy)):
        lost.append("which samples are missing")
    if abs(again.sample_rate - recording.sample_rate) > 1e-6 * recording.sample_rate:
        lost.append(f"sample rate ({recording.sample_rate:g} Hz became {again.sample_rate:g})")
    for name in FACTS:
        before, after = getattr(recording, name), getattr(again, name)
        if before != after and not (before in (None, "") and after in (None, "")):
            lost.append(f"{name} ({before} became {after})" if after not in (None, "") else f"{name} ({before})")
    remarks = " ".join(recording.notes), describe_reasons(doubts(recording))
    seconds = recording.signal.shape[1] / recording.sample_rate
    step = max(step_of(row) for row in recording.signal) * 1000
    return [
        *(str(len(recording.leads)), f"{recording.sample_rate:.6g}", f"{seconds:.3f}", f"{step:.4g}", f"{difference:.2g}"),
        "; ".join(lost) or DASH,
        " ".join(filter(None, remarks)) or DASH,
    ]


def _renamed(name: str, recording: Recording, again: Recording) -> list[str]:
    """Names of leads that the format does not hold, and what they became.

    Raises:
        DataError: leads or samples are not those of the recording, or a standard lead has another name.
    """
    pairs = [(before, after) for before, after in zip(recording.leads, again.leads) if before != after]
    if again.signal.shape != recording.signal.shape or any(set(pair) & set(LEADS) for pair in pairs):
        read, written = (f"{listed(one.leads)} ({one.signal.shape[1]:,} samples)" for one in (again, recording))
        raise DataError(f"{name}: came back with {read} where {written} were written; choose another format")
    return [f"{before!r} became {after!r}" for before, after in pairs]


if __name__ == "__main__":
    sys.exit(run(main))
