"""One item of a teacher sidecar: a video or a study with its Gaussian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cmelt_plugin.data.teacher.gaussian import EPS, merge_videos, teacher_gaussian


class TeacherEntry(NamedTuple):
    """The Gaussian of a video or a study.

    Attributes:
        teacher_id: its name, unique in the sidecar.
        mean: float32 ``[D]``, of unit length.
        log_variance: float32 ``[D]``.
        raw_norm: length of the mean of the frames.
        n_frames: frames it was made of.
        n_videos: videos these belong to.
        subject_id: whose it is; empty = unknown.
        acq_time: when, ISO 8601; empty = unknown.
        frames: ``[n_frames, D]``, where the sidecar shall hold the frames too.
    """

    teacher_id: str
    mean: np.ndarray
    log_variance: np.ndarray
    raw_norm: float
    n_frames: int
    n_videos: int = 1
    subject_id: str = ""
    acq_time: str = ""
    frames: np.ndarray | None = None


def entry_of_frames(
    teacher_id: str,
    frames: np.ndarray,
    subject_id: str = "",
    acq_time: str = "",
    keep_frames: bool = False,
    normalise: bool = True,
    eps: float = EPS,
) -> TeacherEntry:
    """The entry of one video from its frames' embeddings ``[F, D]``.

    Raises:
        ValueError: as :func:`cmelt_plugin.data.teacher.gaussian.teacher_gaussian`.
    """
    mean, log_variance, raw_norm = teacher_gaussian(frames, normalise, eps)
    held = frames / np.linalg.norm(frames, axis=1, keepdims=True) if keep_frames and normalise else frames
    return TeacherEntry(
        teacher_id, mean, log_variance, raw_norm, len(frames), 1, subject_id, acq_time, held if keep_frames else None
    )


def entry_of_videos(teacher_id: str, videos: Sequence[TeacherEntry], eps: float = EPS) -> TeacherEntry:
    """The entry of a study from those of its videos, which are all of one subject; its time is that of the earliest."""
    gaussian = merge_videos(
        np.stack([video.mean for video in videos]),
        np.stack([video.log_variance for video in videos]),
        np.array([video.raw_norm for video in videos]),
        np.array([video.n_frames for video in videos]),
        eps,
    )
    frames = [video.frames for video in videos if video.frames is not None]
    return TeacherEntry(
        teacher_id,
        *gaussian,
        n_frames=sum(video.n_frames for video in videos),
        n_videos=sum(video.n_videos for video in videos),
        subject_id=videos[0].subject_id,
        acq_time=min((video.acq_time for video in videos if video.acq_time), default=""),
        frames=np.concatenate(frames) if len(frames) == len(videos) else None,
    )
