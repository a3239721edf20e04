"""Pairs are those that a search of all recordings and echocardiograms finds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.echo.pairing import nearest_pairs

START = pd.Timestamp("2150-01-01")
# Hours are spread so that no two distances are alike.
events = st.lists(st.tuples(st.sampled_from(["a", "b", ""]), st.integers(0, 400)), max_size=8)


def frame(rows, scale: float) -> pd.DataFrame:
    times = [START + pd.Timedelta(hours=hours + scale * number) for number, (_, hours) in enumerate(rows)]
    return pd.DataFrame({"subject_id": [subject for subject, _ in rows], "time": pd.Series(times, dtype="datetime64[ns]")})


def hours_between(recordings: pd.DataFrame, echoes: pd.DataFrame) -> np.ndarray:
    """``[recordings, echoes]``, infinite for two subjects."""
    same = recordings["subject_id"].to_numpy()[:, None] == echoes["subject_id"].to_numpy()[None]
    same &= (recordings["subject_id"] != "").to_numpy()[:, None]
    hours = (echoes["time"].to_numpy()[None] - recordings["time"].to_numpy()[:, None]) / np.timedelta64(1, "h")
    return np.where(same, hours, np.inf)


@settings(max_examples=40, deadline=None)
@given(events, events, st.sampled_from([24.0, 168.0]))
def test_pairs_are_the_nearest(recorded, made, window: float) -> None:
    recordings, echoes = frame(recorded, 1e-3), frame(made, 1e-5)
    hours = hours_between(recordings, echoes)
    distance = np.abs(hours)
    wanted: dict[int, int] = {}
    for echo in range(len(echoes)):
        if len(recordings) and distance[:, echo].min() <= window:
            row = int(distance[:, echo].argmin())
            if row not in wanted or distance[row, echo] < distance[row, wanted[row]]:
                wanted[row] = echo
    pairs = nearest_pairs(recordings, echoes, window)
    assert dict(zip(pairs.recording.tolist(), pairs.echo.tolist())) == wanted
    assert list(pairs.recording) == sorted(wanted)
    assert np.allclose(pairs.delta_hours, [hours[row, wanted[row]] for row in sorted(wanted)])

    every = {
        row: int(distance[row].argmin()) for row in range(len(recordings)) if len(echoes) and distance[row].min() <= window
    }
    pairs = nearest_pairs(recordings, echoes, window, every=True)
    assert dict(zip(pairs.recording.tolist(), pairs.echo.tolist())) == every
    assert np.allclose(pairs.delta_hours, [hours[row, every[row]] for row in sorted(every)])


def test_the_edge_of_the_window_belongs_to_it_and_unknown_times_to_nothing() -> None:
    recordings = pd.DataFrame({"subject_id": ["a", "a"], "time": [START, pd.NaT]})
    echoes = pd.DataFrame({"subject_id": ["a", "a"], "time": [START + pd.Timedelta(hours=24), pd.NaT]})
    pairs = nearest_pairs(recordings, echoes, 24.0)
    assert (pairs.recording.tolist(), pairs.echo.tolist(), pairs.delta_hours.tolist()) == ([0], [0], [24.0])
    assert pairs.counts[0].endswith("1 of 2") and "pairs: 1 of 1 echocardiograms and 1 subjects" in pairs.counts[-1]
    assert len(nearest_pairs(recordings, echoes, 23.9).recording) == 0
