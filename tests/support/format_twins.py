"""One recording in every format that is read, in counts of the same step, so that nothing but the format differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable

import numpy as np
from limb_leads import limb_leads
from scipy.io import savemat

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.writing.arrays import write_csv, write_npy
from cmelt_plugin.intake.writing.wfdb import write_wfdb
from preprocess.synthetic_ecg.layouts.challenge_records import draw, samples
from tests.intake.writers import aecg, cardiosoft, dicom, edf, ishne, muse, philips, schiller, scp

STEP = 5
"""Microvolts a count; the finest that all these formats write."""


def twin_counts() -> np.ndarray:
    """int16 ``[12, 5000]`` of an ordinary recording at 500 Hz; limb leads fit each other to the last count."""
    signal = samples(draw(0, 1)) * 1000 / STEP
    even = 2 * np.rint(signal / 2)
    return np.concatenate([limb_leads(even[0], even[1]), np.rint(signal[6:])]).astype(np.int16)


def _in_matlab(path: Path, counts: np.ndarray) -> None:
    description = {"sample_rate": 500, "unit": "uV", "leads": LEADS}
    path.with_suffix(".json").write_text(json.dumps(description))
    savemat(path, {"val": counts.astype(np.int32) * STEP})


def _millivolts(counts: np.ndarray) -> Recording:
    return Recording((counts * (STEP / 1000)).astype(np.float32), 500.0, LEADS)


WRITERS: dict[str, Callable[[Path, np.ndarray], object]] = {
    "dicom.dcm": lambda path, counts: dicom.write(path, [dicom.group(counts, sensitivity=f"{STEP}")]),
    "scp.scp": lambda path, counts: scp.write(path, scp.sections_of(counts, quantum=STEP * 1000, difference=2)),
    "scp8.scp": lambda path, counts: scp.write(
        path, scp.sections_of(counts[[0, 1, *range(6, 12)]], quantum=STEP * 1000, numbers=(1, 2, 3, 4, 5, 6, 7, 8))
    ),
    "ishne.ecg": lambda path, counts: ishne.write(path, counts, nanovolts=STEP * 1000),
    "edf.edf": lambda path, counts: edf.write(path, counts, physical=("-163840", "163835")),
    "muse.xml": lambda path, counts: muse.write(path, counts[[0, 1, *range(6, 12)]], bit=f"{STEP}"),
    "philips.xml": lambda path, counts: philips.write(path, counts, bit=f"{STEP}"),
    "aecg.xml": lambda path, counts: aecg.write(path, counts, scale=f'<scale value="{STEP}" unit="uV"/>'),
    "schiller.xml": lambda path, counts: schiller.write(path, counts, bit=f"{STEP}.0"),
    "cardiosoft.xml": lambda path, counts: cardiosoft.write(path, counts, bit=f"{STEP}"),
    "matlab.mat": _in_matlab,
    "numpy.npy": lambda path, counts: write_npy(path.with_suffix(""), _millivolts(counts)),
    "text.csv": lambda path, counts: write_csv(path.with_suffix(""), _millivolts(counts)),
    "record.hea": lambda path, counts: write_wfdb(path.with_suffix(""), _millivolts(counts)),
}
"""File name, and what writes that file."""


def write_twins(folder: Path) -> list[Path]:
    """The recording of :func:`twin_counts` in each format; without DICOM where pydicom is not installed."""
    counts = twin_counts()
    for name, write in WRITERS.items():
        if name != "dicom.dcm" or _has_pydicom():
            write(folder / name, counts)
    return [folder / name for name in WRITERS if (folder / name).exists()]


def _has_pydicom() -> bool:
    try:
        import pydicom.pixels  # noqa: F401  # of version 3
    except ImportError:
        return False
    return True
