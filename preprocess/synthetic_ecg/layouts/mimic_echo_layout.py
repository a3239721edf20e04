"""The tables of MIMIC-IV-ECHO 1.0 for a synthetic cohort, with embeddings of frames in place of the videos.

``echo-record-list.csv`` (one line a video), ``echo-study-list.csv`` (one line a study with videos) and
``structured-measurement.csv.gz`` (one line a measurement) have the columns of the original. As there, two systems name ejection
fractions differently, some studies have videos and no measurements or the other way round, some tests are transesophageal, and
some results are no numbers.
"""

from __future__ import annotations

import csv
import gzip
import io
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np

from cmelt_plugin.data.teacher.prompts import PROMPTS_FILE, write_prompts
from preprocess.synthetic_ecg.echo.echo_frames import draw_prompts, draw_videos, heart_of
from preprocess.synthetic_ecg.physiology.subjects import ECHO_STREAM
from preprocess.synthetic_ecg.record import Plan

FOLDER = "echo"
RECORD_LIST, STUDY_LIST, MEASUREMENTS = "echo-record-list.csv", "echo-study-list.csv", "structured-measurement.csv.gz"
EMBEDDINGS, TRUTH, FRAMES_FOLDER = "embeddings.csv", "truth.csv", "frames"
COLUMNS = {
    RECORD_LIST: ("subject_id", "study_id", "acquisition_datetime", "dicom_filepath"),
    STUDY_LIST: ("subject_id", "study_id", "study_datetime", "note_id", "note_seq", "note_charttime")
    + ("measurement_id", "measurement_datetime"),
    MEASUREMENTS: ("subject_id", "measurement_id", "measurement_datetime", "test_type", "measurement")
    + ("measurement_description", "result", "unit"),
    EMBEDDINGS: ("path", "video_id", "study_id", "subject_id", "acquisition_datetime"),
    TRUTH: ("ecg_study_id", "lvef", "echo_study_id"),
}
README = f"""
Made with --echo --echo-share {{share}}{{more}}:

echo/{RECORD_LIST}, {STUDY_LIST}, {MEASUREMENTS}
                                                    as in MIMIC-IV-ECHO 1.0, without the DICOM files
echo/{EMBEDDINGS}, {FRAMES_FOLDER}/                       embeddings [frames, D] of each video, from no real encoder
echo/{PROMPTS_FILE}                                    texts on ejection fractions, embedded alike
echo/{TRUTH}                                      the ejection fraction that each electrocardiogram was made with
"""
DESCRIPTIONS = {
    "lvef": "Left Ventricle - Ejection Fraction",
    "lvef_upper": "Left Ventricle - Ejection Fraction Upper Range",
    "biplane_lvef": "Left Ventricle - Biplane Ejection Fraction",
    "lvef_3d": "Left Ventricle - 3D Ejection Fraction",
    "septal_thickness": "Left Ventricle - Septal Thickness",
}
# Echo time minus ECG time: shares, and the standard deviation in hours; the last are too far away to make a pair.
_DELAYS = ((0.45, 8.0), (0.35, 60.0), (0.15, 300.0), (0.05, 2000.0))
_TIMING = 4  # third word of the stream's key; echo_frames has the others
_READING_ERROR = 2.0  # per cent


class EchoFolder:
    """Writes ``echo`` below a cohort's folder, record by record.

    Args:
        root: folder of the cohort.
        seed: of the cohort.
        share: of the records that have an echocardiogram.
    """

    def __init__(self, root: Path, seed: int, share: float) -> None:
        self._folder = root / FOLDER
        self._seed = seed
        self._share = share
        self._stack = ExitStack()
        self._tables: dict[str, Any] = {}
        self.studies = self.videos = self.measured = 0

    def __enter__(self) -> EchoFolder:
        self._folder.mkdir()
        for name, columns in COLUMNS.items():
            path = self._folder / name
            if path.suffix == ".gz":
                # Without name and time in its head, equal content makes equal bytes.
                packed = self._stack.enter_context(open(path, "wb"))
                raw = self._stack.enter_context(gzip.GzipFile("", "wb", fileobj=packed, mtime=0))
                handle: TextIO = io.TextIOWrapper(raw, encoding="utf-8", newline="")
            else:
                handle = open(path, "w", encoding="utf-8", newline="")
            self._stack.enter_context(handle)
            self._tables[name] = csv.writer(handle, lineterminator="\n")
            self._tables[name].writerow(columns)
        write_prompts(self._folder / PROMPTS_FILE, draw_prompts(self._seed))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, plan: Plan, ejection: float, subject_id: int, ecg_study_id: int, ecg_time: np.datetime64) -> None:
        """Write the echocardiogram that goes with an electrocardiogram, if it has one.

        Args:
            plan: of the electrocardiogram.
            ejection: its ejection fraction, per cent.
            subject_id, ecg_study_id, ecg_time: of the electrocardiogram.
        """
        rng = np.random.default_rng([self._seed, ECHO_STREAM, _TIMING, plan.index])
        exists, filmed, read, esophageal = rng.random(4)
        study_id = 90_000_000 + plan.index
        shares = np.cumsum([share for share, _ in _DELAYS])
        hours = rng.normal(0, _DELAYS[min(int(np.searchsorted(shares, rng.random())), len(_DELAYS) - 1)][1])
        time = ecg_time + np.timedelta64(round(60 * hours), "m")
        if exists >= self._share:
            self._tables[TRUTH].writerow((ecg_study_id, f"{ejection:.2f}", ""))
            return
        self._tables[TRUTH].writerow((ecg_study_id, f"{ejection:.2f}", study_id))
        self.studies += 1
        measurement_id = 20_000_000 + plan.index if read < 0.9 else None
        measured_at = time + np.timedelta64(int(rng.integers(10, 600)), "m")
        if measurement_id is not None:
            self._measure(
                rng, ejection, (subject_id, measurement_id, _text(measured_at), "tte" if esophageal > 0.04 else "tee")
            )
        if filmed < 0.85 or measurement_id is None:
            linked = (measurement_id, _text(measured_at)) if measurement_id is not None else ("", "")
            self._tables[STUDY_LIST].writerow((subject_id, study_id, _text(time), "", "", "", *linked))
            for number, frames in enumerate(draw_videos(self._seed, plan.index, heart_of(plan, ejection)), start=1):
                self._film(frames, f"{study_id}_{number:04d}", study_id, subject_id, time + np.timedelta64(number, "m"))

    def summary(self) -> str:
        """How many there are of what."""
        return f"{self.studies} echocardiograms, {self.measured} of them measured; {self.videos} videos"

    def _measure(self, rng: np.random.Generator, ejection: float, keys: tuple[Any, ...]) -> None:
        value = float(np.clip(round(ejection + rng.normal(0, _READING_ERROR)), 5, 80))
        old, biplane, solid, odd, upper = rng.random(5)
        results: dict[str, str] = {}
        if old < 0.5:
            lower = 5 * int(value // 5)
            results["lvef"] = ">55" if odd < 0.02 else str(lower)
            if upper < 0.85:
                results["lvef_upper"] = str(lower + 5)
        else:
            if biplane < 0.8:
                results["biplane_lvef"] = f"{value:g}"
            if solid < 0.4 or biplane >= 0.8:
                results["lvef_3d"] = f"{value + rng.integers(-2, 3):g}"
        results["septal_thickness"] = f"{rng.normal(1.0, 0.15):.1f}"
        for name, result in results.items():
            unit = "cm" if name == "septal_thickness" else "%"
            self._tables[MEASUREMENTS].writerow((*keys, name, DESCRIPTIONS[name], result, unit))
        self.measured += 1

    def _film(self, frames: np.ndarray, video_id: str, study_id: int, subject_id: int, time: np.datetime64) -> None:
        place = f"p{subject_id // 1_000_000}/p{subject_id}/s{study_id}/{video_id}"
        path = self._folder / FRAMES_FOLDER / f"{place}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, frames.astype(np.float16))
        self._tables[RECORD_LIST].writerow((subject_id, study_id, _text(time), f"files/{place}.dcm"))
        relative = path.relative_to(self._folder).as_posix()
        self._tables[EMBEDDINGS].writerow((relative, video_id, study_id, subject_id, _text(time)))
        self.videos += 1


def is_of_echo_folder(path: Path, relative: Path) -> bool:
    """Whether a path below a cohort, ``relative`` to it, is one that :class:`EchoFolder` makes."""
    inside = relative.parts[1:]
    if path.is_dir():
        return not inside or inside[0] == FRAMES_FOLDER
    return "/".join(inside) in (*COLUMNS, PROMPTS_FILE) or (inside[0] == FRAMES_FOLDER and path.suffix == ".npy")


def _text(time: np.datetime64) -> str:
    return str(time.astype("datetime64[s]")).replace("T", " ")
