"""MIMIC-IV-ECHO (PhysioNet): which echocardiograms there are, of whom and when, and what was measured in them.

Versions 0.1 and 1.0 list videos (``echo-record-list.csv``) and studies (``echo-study-list.csv``); 1.0 adds
``structured-measurement.csv.gz``, one line a measurement, of many more studies than there are videos of. Columns and file names
are those of the PhysioNet pages and of public code that reads them. The ejection fraction follows the rule used there: biplane,
else three-dimensional, else the middle of the range that was read by eye; transthoracic tests alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from cmelt_plugin.errors import DataError
from preprocess.data_sets.source import read_csv

LAYOUT = "the layout of MIMIC-IV-ECHO: echo-record-list.csv, echo-study-list.csv, structured-measurement.csv.gz"
RECORD_LIST, STUDY_LIST = "echo-record-list.csv", "echo-study-list.csv"
MEASUREMENT_FILES = tuple(f"structured{mark}measurement.csv{packed}" for mark in "-_" for packed in (".gz", ""))
TRANSTHORACIC = "tte"
EJECTION_FIELDS = ("biplane_lvef", "lvef_3d", "lvef", "lvef_upper")
RULES = ("biplane_lvef", "lvef_3d", "middle of lvef and lvef_upper", "lvef alone")
"""Where an ejection fraction is from, the preferred first."""
LINK_HOURS = 48.0
"""A study and its measurements are no further apart (documentation of version 1.0)."""
ROWS = 1_000_000


class Echoes(NamedTuple):
    """Echocardiograms and what became of those that were listed.

    Attributes:
        table: ``echo_id, subject_id`` (text), ``time`` (datetime), ``lvef`` (per cent, NaN = unknown), ``videos`` (list of ids,
            empty = not filmed), and columns of labels, where there are any.
        counts: sentences for people, in order.
    """

    table: pd.DataFrame
    counts: list[str]


def read_videos(root: Path) -> pd.DataFrame:
    """The list of videos: ``video_id, study_id, subject_id, path`` (text) and ``time``, in order of time.

    Raises:
        DataError: the file or a column is missing.
    """
    columns = ["subject_id", "study_id", "acquisition_datetime", "dicom_filepath"]
    listed = read_csv(root / RECORD_LIST, columns, LAYOUT)
    videos = pd.DataFrame(
        {
            "video_id": [Path(path).stem for path in listed["dicom_filepath"]],
            "study_id": listed["study_id"],
            "subject_id": listed["subject_id"],
            "path": listed["dicom_filepath"],
            "time": to_time(listed["acquisition_datetime"]),
        }
    )
    return videos.sort_values(["study_id", "time", "video_id"], kind="stable", ignore_index=True)


def measurement_file(root: Path) -> Path | None:
    """The file of measurements below ``root``, where there is one."""
    return next((root / name for name in MEASUREMENT_FILES if (root / name).is_file()), None)


def read_ejection_fractions(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Ejection fractions of all transthoracic tests.

    Returns:
        ``measurement_id, subject_id`` (text), ``time``, ``lvef`` (per cent, NaN = none), ``rule``, one line a test; and counts.

    Raises:
        DataError: a column is missing, or the file is damaged.
    """
    columns = ["subject_id", "measurement_id", "measurement_datetime", "test_type", "measurement", "result"]
    print(f"reading {path}", file=sys.stderr)
    wanted, tests, lines = [], [], 0
    try:
        with pd.read_csv(path, usecols=columns, dtype=str, keep_default_na=False, chunksize=ROWS) as parts:
            for part in tqdm(parts, unit="million lines", desc=path.name):
                lines += len(part)
                part = part[part["test_type"].str.lower() == TRANSTHORACIC]
                tests.append(part[["measurement_id", "subject_id", "measurement_datetime"]].drop_duplicates("measurement_id"))
                wanted.append(part[part["measurement"].isin(EJECTION_FIELDS)])
    except (ValueError, EOFError, OSError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: unreadable ({' '.join(str(error).split())}); expected {LAYOUT}") from None
    table = pd.concat(tests).drop_duplicates("measurement_id").reset_index(drop=True)
    table["time"] = to_time(table.pop("measurement_datetime"))
    lvef, rule = ejection_fractions(pd.concat(wanted), table["measurement_id"].tolist())
    table["lvef"], table["rule"] = lvef, rule
    counts = [f"{lines:,} measurements, {len(table):,} transthoracic tests"]
    named = [f"{name} {int((rule == name).sum()):,}" for name in RULES]
    counts.append(f"ejection fraction of the tests: {', '.join(named)}, none {int(np.isnan(lvef).sum()):,}")
    return table, counts


def ejection_fractions(measured: pd.DataFrame, tests: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The ejection fraction of each test, float64 ``[n]`` per cent, and where it is from, one of :data:`RULES` or "".

    Args:
        measured: lines ``measurement_id, measurement, result``; of several of one kind the first number counts.
        tests: n measurement ids.
    """
    numbers = pd.to_numeric(measured["result"], errors="coerce")
    good = numbers.notna() & (numbers >= 0) & (numbers <= 100)
    lines = measured.loc[good, ["measurement_id", "measurement"]].assign(value=numbers[good].astype(float))
    wide = lines.drop_duplicates(["measurement_id", "measurement"]).pivot(
        index="measurement_id", columns="measurement", values="value"
    )
    wide = wide.reindex(index=list(tests), columns=list(EJECTION_FIELDS))
    biplane, solid, low, high = (wide[name].to_numpy() for name in EJECTION_FIELDS)
    lvef, rule = np.full(len(wide), np.nan), np.full(len(wide), "", dtype=object)
    for name, values in reversed(list(zip(RULES, (biplane, solid, (low + high) / 2, low)))):
        known = ~np.isnan(values)
        lvef[known], rule[known] = values[known], name
    return lvef, rule


def read_echoes(root: Path) -> Echoes:
    """All echocardiograms below ``root``: filmed ones with the measurements that belong to them, and measured ones.

    A study's measurements are those it names; where it names none (version 0.1), those of the same subject that are nearest in
    time, not more than :data:`LINK_HOURS` away. A test that belongs to no filmed study is an echocardiogram of its own.

    Raises:
        DataError: there is neither a list of videos nor a file of measurements, or one is damaged.
    """
    filmed = (root / RECORD_LIST).is_file()
    path = measurement_file(root)
    if not filmed and path is None:
        raise DataError(f"{root}: no {RECORD_LIST} and no {MEASUREMENT_FILES[0]}; expected {LAYOUT}")
    counts: list[str] = []
    tests, studies = _empty("measurement_id", "subject_id"), _empty("echo_id", "subject_id", "videos", "measurement_id")
    if path is not None:
        tests, counts = read_ejection_fractions(path)
    if filmed:
        studies = _read_studies(root)
        counts.append(f"{int(studies['videos'].map(len).sum()):,} videos of {len(studies):,} studies")
    link = link_studies(studies, tests)
    of_study = pd.Series(tests["lvef"].to_numpy(), index=tests["measurement_id"]).reindex(link).to_numpy(float)
    if filmed and path is not None:
        counts.append(f"studies with measurements: {int(link.notna().sum()):,}; with an ejection fraction: {_known(of_study)}")
    alone = tests[~tests["measurement_id"].isin(link.dropna())]
    no_videos: list[list[str]] = [[] for _ in range(len(alone))]
    of_alone = alone.rename(columns={"measurement_id": "echo_id"}).assign(
        videos=pd.Series(no_videos, alone.index, dtype=object)
    )
    columns = ["echo_id", "subject_id", "time", "videos", "lvef"]
    parts: list[pd.DataFrame] = [part[columns] for part in (studies.assign(lvef=of_study), of_alone) if len(part)]
    table = pd.concat(parts, ignore_index=True) if parts else studies.assign(lvef=of_study)[columns]
    if path is not None:
        counts.append(f"tests that were not filmed: {len(alone):,}; with an ejection fraction: {_known(alone['lvef'])}")
    return Echoes(table, counts)


def link_studies(studies: pd.DataFrame, tests: pd.DataFrame) -> pd.Series:
    """Measurement id of each study, missing = none.

    Args:
        studies: ``subject_id, time, measurement_id`` ("" = not named).
        tests: ``measurement_id, subject_id, time``.
    """
    named = studies["measurement_id"].where(studies["measurement_id"].isin(tests["measurement_id"]))
    left = studies.loc[named.isna(), ["subject_id", "time"]].dropna().sort_values("time", kind="stable")
    right = tests[["measurement_id", "subject_id", "time"]].dropna().sort_values("time", kind="stable")
    if len(left) and len(right):
        tolerance = pd.Timedelta(hours=LINK_HOURS)
        joined = pd.merge_asof(left, right, on="time", by="subject_id", tolerance=tolerance, direction="nearest")
        named = named.fillna(pd.Series(joined["measurement_id"].to_numpy(), index=left.index))
    return named


def to_time(texts: pd.Series) -> pd.Series:
    """Times, missing where a text is none."""
    return pd.to_datetime(texts, errors="coerce", format="mixed").astype("datetime64[ns]")


def _read_studies(root: Path) -> pd.DataFrame:
    """Studies that have videos: ``echo_id, subject_id, time, videos, measurement_id``."""
    videos = read_videos(root)
    grouped = videos.groupby("study_id", sort=True)
    studies = pd.DataFrame(
        {
            "subject_id": grouped["subject_id"].first(),
            "time": grouped["time"].min(),
            "videos": grouped["video_id"].agg(list),
        }
    )
    if (root / STUDY_LIST).is_file():
        listed = read_csv(root / STUDY_LIST, ["study_id", "study_datetime"], LAYOUT, also="measurement_id")
        listed = listed.drop_duplicates("study_id").set_index("study_id").reindex(studies.index)
        studies["time"] = to_time(listed["study_datetime"]).fillna(studies["time"])
        if "measurement_id" in listed:
            studies["measurement_id"] = listed["measurement_id"].fillna("")
    if "measurement_id" not in studies:
        studies["measurement_id"] = ""
    return studies.reset_index(names="echo_id")


def _empty(*columns: str) -> pd.DataFrame:
    """No rows of these columns, a time and an ejection fraction."""
    types = {**dict.fromkeys(columns, "O"), "time": "datetime64[ns]", "lvef": "float64"}
    return pd.DataFrame({name: np.empty(0, kind) for name, kind in types.items()})


def _known(values: pd.Series | np.ndarray) -> str:
    return f"{int(np.count_nonzero(~np.isnan(np.asarray(values, float)))):,}"
