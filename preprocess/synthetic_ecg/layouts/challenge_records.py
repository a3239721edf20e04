"""Single synthetic recordings, one per subject, in the file formats of PhysioNet's challenges."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Callable

import numpy as np
from scipy.io import savemat

from cmelt_plugin import option_types
from cmelt_plugin.data.leads import LEADS, lead_indices
from cmelt_plugin.errors import DataError
from preprocess.synthetic_ecg.physiology.leads import MIMIC_LEADS
from preprocess.synthetic_ecg.physiology.subjects import draw_subject
from preprocess.synthetic_ecg.record import Plan, plan_record, render

STEPS_PER_MV = 1000
_TO_CANONICAL = lead_indices(MIMIC_LEADS)


def draw(seed: int, index: int) -> Plan:
    """Plan of recording ``index``, which is the only one of subject ``index``."""
    return plan_record(seed, index, draw_subject(seed, index))


def samples(plan: Plan) -> np.ndarray:
    """float32 [12, 5000] in mV at 500 Hz, leads I, II, III, aVR, aVL, aVF, V1-V6."""
    return render(plan)[_TO_CANONICAL]


def patient_of(plan: Plan) -> tuple[str, int]:
    """Sex ("Female" or "Male") and age in years."""
    return ("Female" if plan.subject.sex == "F" else "Male"), plan.subject.age


def write_wfdb_mat(path: Path, signal: np.ndarray, comments: Sequence[str], rate: int = 500) -> None:
    """Write ``path``.hea and ``path``.mat: a MATLAB 4 matrix ``val`` that is a WFDB record of format 16 from byte 24 on.

    Args:
        path: the files without their suffixes; the folder is made.
        signal: float [12, samples] in mV, leads in canonical order.
        comments: lines for the end of the header, such as ``#Age: 61``.
        rate: Hz.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    steps = np.clip(np.rint(signal * STEPS_PER_MV), -32767, 32767).astype("<i2")
    savemat(f"{path}.mat", {"val": steps}, format="4")
    checksums = (steps.sum(axis=1, dtype=np.int64) + 32768) % 65536 - 32768
    lines = [f"{path.name} {len(LEADS)} {rate} {steps.shape[1]}"]
    for lead, start, checksum in zip(LEADS, steps[:, 0], checksums):
        lines.append(f"{path.name}.mat 16+24 {STEPS_PER_MV}/mV 16 0 {start} {checksum} 0 {lead}")
    Path(f"{path}.hea").write_text("\n".join([*lines, *comments]) + "\n", encoding="ascii")


@contextmanager
def whole_folder(dest: Path) -> Iterator[Path]:
    """Yield a folder beside ``dest`` that takes its name when everything has been written.

    Raises:
        DataError: ``dest`` exists and is not an empty folder.
    """
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise DataError(f"{dest}: exists and is not an empty folder; choose another --dest")
    dest = dest.resolve()
    dest.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{dest.name}.", dir=dest.parent))
    try:
        whole = scratch / "whole"
        whole.mkdir()
        yield whole
        if dest.exists():
            dest.rmdir()
        whole.rename(dest)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def layout_arguments(
    description: str | None,
    example: str,
    argv: Sequence[str] | None,
    more: Callable[[argparse.ArgumentParser], None] | None = None,
) -> argparse.Namespace:
    """Parse --dest, --records and --seed, and what ``more`` adds, of a command that writes a layout.

    Raises:
        DataError: no records, or a negative seed.
    """
    parser = argparse.ArgumentParser(
        description=description, epilog=f"example:\n  {example}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dest", type=Path, required=True, help="folder to write; must be empty or missing")
    parser.add_argument("--records", type=option_types.count, required=True, help="number of records")
    parser.add_argument("--seed", type=option_types.seed, default=1, help="same seed, same files (default 1)")
    if more is not None:
        more(parser)
    args = parser.parse_args(argv)
    return args
