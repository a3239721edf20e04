"""What became of each video, kept so that a killed run goes on, and the entries of a teacher sidecar made of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Callable, TypeVar, Union

import numpy as np

from cmelt_plugin.data.files import atomic_path, read_object, write_json
from cmelt_plugin.data.readers.contract import Rejected
from cmelt_plugin.data.store.npy_files import read_npz
from cmelt_plugin.data.teacher import TeacherEntry, entry_of_videos
from cmelt_plugin.errors import DataError
from preprocess.echo.video_lists import Video

T = TypeVar("T")
R = TypeVar("R")
Outcome = Union[TeacherEntry, str]
"""What became of a video: its entry, or why it cannot be used."""


class Blocks:
    """What became of videos so far, a small file each, in a folder that one set of settings owns.

    Args:
        folder: made where missing.
        settings: what the outcomes depend on.

    Raises:
        DataError: the folder holds outcomes under other settings.
    """

    def __init__(self, folder: Path, settings: dict[str, object]) -> None:
        self.folder = folder
        described = folder / "settings.json"
        if described.is_file():
            earlier = read_object(described)
            changed = sorted(name for name in {**earlier, **settings} if earlier.get(name) != settings.get(name))
            if changed:
                raise DataError(f"{folder}: begun with another {', '.join(changed)}; repeat that command, or delete the folder")
        else:
            write_json(described, settings)

    def load(self, video: Video) -> Outcome | None:
        """The outcome of a video; None where it has none yet, or a damaged one."""
        path = self._path(video)
        try:
            arrays = read_npz(path)
            if "reason" in arrays:
                return str(arrays["reason"])
            frames = arrays.get("frames")
            numbers = (arrays["mean"], arrays["log_variance"], float(arrays["raw_norm"]), int(arrays["n_frames"]))
        except (FileNotFoundError, ValueError, KeyError):
            return None
        return TeacherEntry(video.video_id, *numbers, 1, video.subject_id, video.time, frames)

    def save(self, video: Video, outcome: Outcome) -> None:
        """Keep the outcome of a video."""
        arrays: dict[str, Any]
        if isinstance(outcome, str):
            arrays = {"reason": np.array(outcome)}
        else:
            arrays = {name: np.asarray(getattr(outcome, name)) for name in ("mean", "log_variance", "raw_norm", "n_frames")}
            if outcome.frames is not None:
                arrays["frames"] = np.asarray(outcome.frames, np.float16)
        with atomic_path(self._path(video)) as temporary:
            np.savez(temporary, **arrays)

    def _path(self, video: Video) -> Path:
        digest = hashlib.sha256(video.video_id.encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest[2:34]}.npz"


def entries_of(
    videos: Iterable[Video],
    outcome: Callable[[Video], Outcome],
    by_study: bool,
    rejected: list[tuple[str, str, str]],
    eps: float,
) -> Iterator[TeacherEntry]:
    """Entries of the videos, or of the studies they are merged to; those that cannot be used are listed.

    Args:
        videos: by study.
        outcome: of a video.
        by_study: one entry a study.
        rejected: id, path and reason of each video without an entry are added.
        eps: that of the Gaussians.
    """
    dim = 0
    for study, group in groupby(videos, key=lambda video: video.study_id):
        usable = []
        for video in group:
            found = outcome(video)
            if isinstance(found, TeacherEntry):
                dim = dim or len(found.mean)
                if len(found.mean) != dim:
                    found = f"dim: embeddings of {len(found.mean)} numbers, the first have {dim}"
            if isinstance(found, str):
                rejected.append((video.video_id, video.path, found))
            else:
                usable.append(found)
        if by_study and usable:
            yield entry_of_videos(study, usable, eps)
        elif not by_study:
            yield from usable


def ahead(function: Callable[[T], R], items: Sequence[T], jobs: int) -> Iterator[tuple[T, R | Rejected]]:
    """Results in order, computed by ``jobs`` threads a little ahead of their use; a refusal is a result."""

    def guarded(item: T) -> R | Rejected:
        try:
            return function(item)
        except Rejected as error:
            return error

    waiting = iter(items)
    with ThreadPoolExecutor(jobs) as executor:
        running: list[tuple[T, Future]] = [(item, executor.submit(guarded, item)) for item in islice(waiting, jobs + 1)]
        try:
            while running:
                item, future = running.pop(0)
                result = future.result()
                running.extend((following, executor.submit(guarded, following)) for following in islice(waiting, 1))
                yield item, result
        finally:
            for _, future in running:
                future.cancel()
