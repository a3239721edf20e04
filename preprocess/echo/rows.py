"""From recordings and echocardiograms to the rows of a manifest: pairs, texts without a pair, and their columns."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from cmelt_plugin.data.directory.split_meta import OPTIONAL_SCHEMA
from cmelt_plugin.data.teacher import Teacher
from cmelt_plugin.errors import DataError
from preprocess.data_sets.mimic_iv_echo import Echoes, to_time
from preprocess.echo.pairing import nearest_pairs
from preprocess.packing.records import SOURCE_COLUMN

ECG_TEXT, ECG_ECHO = "ecg_text", "ecg_echo"
"""What a row is for: its report, or an echocardiogram."""
STUDY, VIDEO = "study", "video"


class Choice(NamedTuple):
    """Which pairs are wanted.

    Attributes:
        window_hours: the largest distance.
        every: each recording in the window and not only the nearest of an echocardiogram.
        measured: also pairs with echocardiograms without a teacher, as ``ecg_text``.
        with_text: also recordings without a pair that have a report.
        level: what a teacher_id names, :data:`STUDY` or :data:`VIDEO`.
    """

    window_hours: float = 168.0
    every: bool = False
    measured: bool = False
    with_text: bool = False
    level: str = STUDY


def choose_rows(
    records: pa.Table, echoes: Echoes, choice: Choice, teacher: Teacher | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """The rows of the manifest.

    Args:
        records: recordings, of ``RECORDS_SCHEMA``.
        echoes: echocardiograms.
        choice: which pairs are wanted.
        teacher: the sidecar; None: every filmed echocardiogram has a teacher.

    Returns:
        ``row`` of the recordings, ascending, ``source``, ``teacher_id`` (None = none), ``delta_hours``, ``lvef``, and ``echo``:
        row of the echocardiograms, -1 = none; and counts.

    Raises:
        DataError: no recording is left.
    """
    table, notes = echoes.table, list(echoes.counts)
    videos = _with_teacher(table, teacher, choice.level)
    filmed = np.array([bool(listed) for listed in videos], dtype=bool)
    if teacher is not None:
        notes.append(f"echocardiograms in {teacher.path.name}: {int(filmed.sum()):,}")
    plans = [(filmed, ECG_ECHO, "filmed")]
    if choice.measured:
        labels = [name for name in table if name not in ("echo_id", "subject_id", "time", "videos")]
        known = table[labels].notna().any(axis=1).to_numpy()
        plans.append((~filmed & known, ECG_TEXT, "measured"))

    texts = pd.Series(records["time"].to_pylist(), dtype=object)
    recordings = pd.DataFrame({"subject_id": records["subject_id"].to_pylist(), "time": to_time(texts)})
    free, parts = np.ones(len(recordings), dtype=bool), []
    for wanted, source, what in plans:
        open_rows, places = np.flatnonzero(free), np.flatnonzero(wanted)
        pairs = nearest_pairs(recordings.iloc[open_rows], table.iloc[places], choice.window_hours, choice.every)
        notes.extend(f"{what}: {count}" for count in pairs.counts)
        part = pd.DataFrame({"row": open_rows[pairs.recording], "echo": places[pairs.echo], "delta_hours": pairs.delta_hours})
        parts.append(part.assign(source=source))
        free[part["row"]] = False
    if not sum(map(len, parts)):
        raise DataError(
            f"no recording has an echocardiogram within {choice.window_hours:g} h; are subjects and times of both of the same "
            f"data set? ({'; '.join(notes)})"
        )
    if choice.with_text:
        reports = np.array([bool(text) for text in records["report"].to_pylist()], dtype=bool)
        rest = np.flatnonzero(free & reports)
        notes.append(f"text: recordings without a pair that have a report: {len(rest):,}")
        parts.append(pd.DataFrame({"row": rest, "echo": -1, "delta_hours": np.nan, "source": ECG_TEXT}))
    rows = pd.concat(parts, ignore_index=True).sort_values("row", kind="stable", ignore_index=True)
    ids, echo_ids = records["record_id"].to_pylist(), table["echo_id"].tolist()
    teachers = [
        None if source == ECG_TEXT else echo_ids[echo] if choice.level == STUDY else _video(videos[echo], ids[row])
        for row, echo, source in zip(rows["row"], rows["echo"], rows["source"])
    ]
    rows["teacher_id"] = pd.Series(teachers, dtype=object)
    rows["lvef"] = of_echoes(rows, table[["lvef"]].to_numpy(float))[:, 0]
    return rows, notes


def of_echoes(rows: pd.DataFrame, values: np.ndarray) -> np.ndarray:
    """``values [echoes, C]`` of the echocardiogram of each row, NaN where it has none: ``[rows, C]``."""
    echo = rows["echo"].to_numpy()
    return np.where((echo >= 0)[:, None], values[echo], np.nan)


def with_columns(records: pa.Table, rows: pd.DataFrame) -> pa.Table:
    """The rows' recordings, with their source and the columns of ``OPTIONAL_SCHEMA``."""
    table = records.take(pa.array(rows["row"]))
    table = table.append_column(SOURCE_COLUMN, pa.array(rows["source"].tolist(), pa.string()))
    for field in OPTIONAL_SCHEMA:
        values = rows[field.name].to_numpy(object if field.type == pa.string() else np.float32)
        table = table.append_column(field, pa.array(values, field.type))
    return table


def _with_teacher(table: pd.DataFrame, teacher: Teacher | None, level: str) -> list[list[str]]:
    """Videos of each echocardiogram that have a teacher."""
    videos: list[list[str]] = table["videos"].tolist()
    if teacher is None:
        return videos
    if level == VIDEO:
        return [[video for video in listed if video in teacher] for listed in videos]
    return [listed if echo in teacher else [] for listed, echo in zip(videos, table["echo_id"])]


def _video(videos: Sequence[str], record_id: str) -> str:
    """One of a study's videos: which one is a matter of the recording's id, so that all of them are used."""
    return videos[int.from_bytes(hashlib.sha256(record_id.encode()).digest()[:8], "big") % len(videos)]
