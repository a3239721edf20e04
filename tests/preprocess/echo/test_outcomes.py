"""Outcomes of videos come back as they were saved, damaged ones are made again, and work ahead keeps its order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmelt_plugin.data.readers.contract import Rejected
from cmelt_plugin.data.teacher import EPS, TeacherEntry, entry_of_frames
from cmelt_plugin.errors import DataError
from preprocess.echo.outcomes import Blocks, ahead, entries_of
from preprocess.echo.video_lists import Video

VIDEO = Video("v/1", "files/v1.dcm", "s1", "p1", "2150-01-01")


def entry(keep_frames: bool = False, dim: int = 4) -> TeacherEntry:
    frames = np.random.default_rng(0).normal(size=(3, dim))
    return entry_of_frames(VIDEO.video_id, frames, VIDEO.subject_id, VIDEO.time, keep_frames)


@pytest.mark.parametrize("outcome", [entry(), entry(keep_frames=True), "missing: v1.dcm: no such file"])
def test_outcomes_come_back_and_damaged_ones_do_not(tmp_path: Path, outcome) -> None:
    blocks = Blocks(tmp_path / "work", {"encoder": "x"})
    assert blocks.load(VIDEO) is None
    blocks.save(VIDEO, outcome)
    found = Blocks(tmp_path / "work", {"encoder": "x"}).load(VIDEO)
    if isinstance(outcome, str):
        assert found == outcome
    else:
        assert found._replace(mean=0, log_variance=0, frames=0) == outcome._replace(mean=0, log_variance=0, frames=0)
        assert np.array_equal(found.mean, outcome.mean) and np.array_equal(found.log_variance, outcome.log_variance)
        assert (found.frames is None) == (outcome.frames is None)
    (file,) = (path for path in (tmp_path / "work").rglob("*.npz"))
    file.write_bytes(file.read_bytes()[:-30])
    assert blocks.load(VIDEO) is None
    with pytest.raises(DataError, match="begun with another encoder"):
        Blocks(tmp_path / "work", {"encoder": "y"})


def test_studies_are_of_the_videos_that_can_be_used() -> None:
    outcomes = {"a": entry(), "b": "shape: odd", "c": entry(dim=5), "d": "missing: d", "e": entry()}
    videos = [Video(name, f"{name}.npy", study) for name, study in zip("abcde", ("1", "1", "1", "2", "3"))]
    for by_study, ids in ((True, ["1", "3"]), (False, [VIDEO.video_id] * 2)):
        rejected: list[tuple[str, str, str]] = []
        made = list(entries_of(videos, lambda video: outcomes[video.video_id], by_study, rejected, EPS))
        assert [one.teacher_id for one in made] == ids
        assert [row[0] for row in rejected] == ["b", "c", "d"] and rejected[1][1:] == (
            "c.npy",
            "dim: embeddings of 5 numbers, the first have 4",
        )


def test_work_ahead_keeps_its_order_and_hands_on_refusals_but_not_faults() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise Rejected("odd", "three")
        if number == 7:
            raise MemoryError
        return number * 10

    results = dict(ahead(work, range(6), jobs=3))
    assert list(results) == list(range(6)) and str(results.pop(3)) == "odd: three"
    assert results == {0: 0, 1: 10, 2: 20, 4: 40, 5: 50}
    with pytest.raises(MemoryError):
        list(ahead(work, range(12), jobs=2))
