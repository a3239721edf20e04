"""Which electrocardiogram goes with which echocardiogram: the nearest in time of the same subject."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd


class Pairs(NamedTuple):
    """Pairs of a recording and an echocardiogram; a recording occurs once at most.

    Attributes:
        recording: int ``[n]``, rows of the recordings.
        echo: int ``[n]``, rows of the echocardiograms.
        delta_hours: float64 ``[n]``, time of the echocardiogram minus that of the recording.
        counts: sentences for people, in order.
    """

    recording: np.ndarray
    echo: np.ndarray
    delta_hours: np.ndarray
    counts: list[str]


def nearest_pairs(recordings: pd.DataFrame, echoes: pd.DataFrame, window_hours: float, every: bool = False) -> Pairs:
    """Pair recordings with echocardiograms of the same subject that are at most ``window_hours`` away, before or after.

    Args:
        recordings, echoes: ``subject_id`` (text, "" = unknown) and ``time`` (datetime, missing = unknown), in any order.
        window_hours: the largest distance, itself included.
        every: False: each echocardiogram with the recording nearest to it; a recording that several have in common stays with
            the nearest of them. True: each recording with the echocardiogram nearest to it, so that an echocardiogram may have
            several.
    """
    left, right = _timed(recordings), _timed(echoes)
    counts = [
        f"recordings with a subject and a time: {len(left):,} of {len(recordings):,}",
        f"echocardiograms with a subject and a time: {len(right):,} of {len(echoes):,}",
        f"echocardiograms whose subject has a recording: {int(right['subject_id'].isin(left['subject_id']).sum()):,}",
    ]
    if not len(left) or not len(right):
        return Pairs(np.empty(0, int), np.empty(0, int), np.empty(0), counts)
    sought, among = (left, right) if every else (right, left)
    sides = ("recording", "echo") if every else ("echo", "recording")
    joined = pd.merge_asof(
        sought.rename(columns={"row": sides[0]}),
        among.rename(columns={"row": sides[1]}).assign(found=among["time"]),
        on="time",
        by="subject_id",
        tolerance=pd.Timedelta(hours=window_hours),
        direction="nearest",
    ).dropna(subset=["found"])
    hours = (joined["found"] - joined["time"]).dt.total_seconds() / 3600
    pairs = pd.DataFrame(
        {
            "recording": joined["recording"].astype(int),
            "echo": joined["echo"].astype(int),
            "delta_hours": hours if every else -hours,
        }
    )
    counts.append(f"{'recordings' if every else 'echocardiograms'} with a partner within {window_hours:g} h: {len(pairs):,}")
    if not every:
        order = np.lexsort((pairs["echo"], pairs["delta_hours"].abs(), pairs["recording"]))
        pairs = pairs.iloc[order].drop_duplicates("recording")
        counts.append(f"echocardiograms whose recording is nearer to another: {len(joined) - len(pairs):,}")
    pairs = pairs.sort_values("recording", kind="stable")
    counts.append(
        f"pairs: {len(pairs):,} of {pairs['echo'].nunique():,} echocardiograms and "
        f"{left.set_index('row')['subject_id'].loc[pairs['recording']].nunique():,} subjects"
    )
    return Pairs(pairs["recording"].to_numpy(), pairs["echo"].to_numpy(), pairs["delta_hours"].to_numpy(float), counts)


def _timed(table: pd.DataFrame) -> pd.DataFrame:
    """``row, subject_id, time`` of the rows that have both, by time."""
    rows = pd.DataFrame({"row": np.arange(len(table)), **{name: table[name].to_numpy() for name in ("subject_id", "time")}})
    return rows[(rows["subject_id"] != "") & rows["time"].notna()].sort_values("time", kind="stable", ignore_index=True)
