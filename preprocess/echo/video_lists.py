"""Lists of echo videos: a table of the user's, or MIMIC-IV-ECHO's own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from cmelt_plugin.errors import DataError
from preprocess.data_sets.mimic_iv_echo import read_videos
from preprocess.data_sets.table_source import read_table, table_columns

REQUIRED, OPTIONAL = ("path", "study_id", "subject_id"), ("video_id", "acquisition_datetime")


class Video(NamedTuple):
    """One video of a list."""

    video_id: str
    path: str
    study_id: str
    subject_id: str = ""
    time: str = ""
    """ISO 8601, "" = unknown."""


def list_videos(path: Path) -> list[Video]:
    """Videos of a table with columns ``path, study_id, subject_id`` and, if there are, ``video_id, acquisition_datetime``.

    Raises:
        DataError: the table cannot be read or lacks a column, a row has no path or no study, an id occurs twice, or a study has
            two subjects.
    """
    there = table_columns(path)
    table = read_table(path, [*REQUIRED, *(name for name in OPTIONAL if name in there)])
    for name in ("path", "study_id"):
        empty = np.flatnonzero(table[name] == "")
        if len(empty):
            raise DataError(f"{path}, row {empty[0] + 1}: no {name}")
    ids = table["video_id"] if "video_id" in table else [Path(text).stem for text in table["path"]]
    times = table["acquisition_datetime"] if "acquisition_datetime" in table else [""] * len(table)
    rows = zip(ids, table["path"], table["study_id"], table["subject_id"], (text.replace(" ", "T", 1) for text in times))
    return _checked([Video(*row) for row in rows], path)


def list_mimic_videos(root: Path) -> list[Video]:
    """Videos of MIMIC-IV-ECHO below ``root``. Raises DataError like :func:`list_videos`."""
    table = read_videos(root)
    times = ["" if missing else time.isoformat() for time, missing in zip(table["time"], table["time"].isna())]
    rows = zip(table["video_id"], table["path"], table["study_id"], table["subject_id"], times)
    return _checked([Video(*row) for row in rows], root)


def _checked(videos: list[Video], source: Path) -> list[Video]:
    """By study, in order of first appearance."""
    seen: set[str] = set()
    subject_of: dict[str, str] = {}
    for video in videos:
        if video.video_id in seen:
            raise DataError(f"{source}: video {video.video_id} occurs twice; ids (or file names) must be unique")
        seen.add(video.video_id)
        if subject_of.setdefault(video.study_id, video.subject_id) != video.subject_id:
            both = f"{subject_of[video.study_id]} and {video.subject_id}"
            raise DataError(f"{source}: study {video.study_id} has two subjects, {both}")
    rank = {study: number for number, study in enumerate(subject_of)}
    return sorted(videos, key=lambda video: rank[video.study_id])
