"""Opening a teacher sidecar: its arrays stay in their files, and everything that can be wrong with it is looked for.

The directory is described in manifests/README.md.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmelt_plugin.data.directory.checksums import check_listed
from cmelt_plugin.data.files import read_object
from cmelt_plugin.data.store.memory_maps import MappedArray, blocks, map_npy
from cmelt_plugin.data.teacher.index import INDEX_FILE, IndexLine, read_index
from cmelt_plugin.data.teacher.prompts import PROMPTS_FILE, TeacherPrompts, read_prompts
from cmelt_plugin.errors import DataError

SCHEMA_VERSION = 1
META_FILE = "meta.json"
MEAN_FILE, LOG_VARIANCE_FILE, RAW_NORM_FILE = "mean.npy", "logvar.npy", "raw_norm.npy"
FRAMES_FILE, FRAME_OFFSETS_FILE = "frames.npy", "frame_offsets.npy"
LEVELS = ("study", "video")
TYPES = {
    **{"schema_version": int, "encoder": str, "weights_sha256": str, "dim": int, "level": str, "normalized_frames": bool},
    **{"frame_stride": int, "eps": float, "view_filter": str, "channel_order": str, "created": str, "n_items": int},
}
"""What ``meta.json`` must hold, and of which type."""
UNIT_TOLERANCE = 1e-3
IDENTITY_TOLERANCE = 1e-2


class Teacher:
    """The Gaussians of ``N`` echocardiograms; pickled as paths.

    Attributes:
        path: the sidecar.
        info: ``meta.json``.
        ids: teacher ids in the order of rows.
        index: lines of ``index.tsv`` in the order of rows: frames, videos, subject and time of each.
    """

    def __init__(self, path: Path, info: dict[str, Any], index: list[IndexLine], arrays: dict[str, MappedArray]) -> None:
        self.path = path
        self.info = info
        self.index = index
        self.ids = [line.teacher_id for line in index]
        self._arrays = arrays
        self._rows = {teacher_id: row for row, teacher_id in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, teacher_id: object) -> bool:
        return teacher_id in self._rows

    @property
    def dim(self) -> int:
        """Numbers an embedding has (D)."""
        return self.info["dim"]

    @property
    def mean(self) -> np.ndarray:
        """Float32 ``[N, D]``, of unit length, in the file."""
        return self._arrays[MEAN_FILE].array

    @property
    def log_variance(self) -> np.ndarray:
        """Float32 ``[N, D]``, in the file. Where ``n_frames`` is 1, it is the logarithm of ``eps`` throughout."""
        return self._arrays[LOG_VARIANCE_FILE].array

    @property
    def raw_norm(self) -> np.ndarray:
        """Float32 ``[N]``: length of the mean of the frames."""
        return self._arrays[RAW_NORM_FILE].array

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Rows int64 ``[B]`` of teacher ids.

        Raises:
            DataError: the sidecar has no such id.
        """
        try:
            return np.array([self._rows[teacher_id] for teacher_id in ids], dtype=np.int64)
        except KeyError as error:
            missing = len(set(ids) - self._rows.keys())
            raise DataError(
                f"{self.path}: no teacher_id {error.args[0]!r:.80} ({missing:,} of {len(set(ids)):,} are missing); the sidecar "
                "must be of the echocardiograms that the manifest names, and of the same level (study or video)"
            ) from None

    def frames(self, row: int) -> np.ndarray | None:
        """Embeddings of a row's frames, float16 ``[F, D]``, a copy; None where the sidecar holds none."""
        if FRAMES_FILE not in self._arrays:
            return None
        start, stop = self._arrays[FRAME_OFFSETS_FILE].array[row : row + 2].tolist()
        return self._arrays[FRAMES_FILE].slice(start * self.dim, stop * self.dim).reshape(-1, self.dim)

    def prompts(self) -> TeacherPrompts | None:
        """Embeddings of texts by the teacher; None where the sidecar holds none. Raises DataError for a damaged file."""
        path = self.path / PROMPTS_FILE
        if not path.is_file():
            return None
        check_listed(path)
        return read_prompts(path, self.dim)


def open_teacher(path: str | os.PathLike) -> Teacher:
    """Open a teacher sidecar.

    Raises:
        DataError: a file is missing, damaged or changed; ids are not unique or rows not those of the arrays; a number is not
            finite; a mean is not of unit length; or variances and means are not of the same frames (the sum of a row's
            variances and its squared ``raw_norm`` must be 1 where frames have unit length).
    """
    path = Path(path)
    if not (path / META_FILE).is_file():
        raise DataError(f"{path / META_FILE}: no such file; preprocess/echo_teacher.py writes sidecars, and this file last")
    info = _read_info(path / META_FILE)
    for name in (INDEX_FILE, MEAN_FILE, LOG_VARIANCE_FILE, RAW_NORM_FILE):
        check_listed(path / name)
    index = read_index(path / INDEX_FILE)
    count, dim = info["n_items"], info["dim"]
    if len(index) != count:
        raise DataError(f"{path / INDEX_FILE}: {len(index)} lines, {META_FILE} says {count}; write the sidecar again")
    arrays = {
        MEAN_FILE: _map(path / MEAN_FILE, np.float32, (count, dim)),
        LOG_VARIANCE_FILE: _map(path / LOG_VARIANCE_FILE, np.float32, (count, dim)),
        RAW_NORM_FILE: _map(path / RAW_NORM_FILE, np.float32, (count,)),
    }
    if (path / FRAMES_FILE).is_file() or (path / FRAME_OFFSETS_FILE).is_file():
        arrays |= _map_frames(path, index, dim)
    teacher = Teacher(path, info, index, arrays)
    _check_gaussians(teacher, arrays)
    return teacher


def _read_info(path: Path) -> dict[str, Any]:
    info = read_object(path)
    if info.get("schema_version") != SCHEMA_VERSION:
        raise DataError(f"{path}: schema_version {info.get('schema_version')!r:.40}, this version reads {SCHEMA_VERSION}")
    for name, kind in TYPES.items():
        accepted = (int, float) if kind is float else (kind,)
        if name == "channel_order":
            info.setdefault(name, "")
        if type(info.get(name)) not in accepted:
            raise DataError(f"{path}: {name} is {info.get(name)!r:.60}, not {kind.__name__}; write the sidecar again")
    if info["level"] not in LEVELS:
        raise DataError(f"{path}: level is {info['level']!r:.40}, not {' or '.join(LEVELS)}")
    if info["dim"] < 1 or info["n_items"] < 1:
        raise DataError(f"{path}: dim {info['dim']}, n_items {info['n_items']}; write the sidecar again")
    return info


def _map(path: Path, dtype: type, shape: tuple[int, ...]) -> MappedArray:
    try:
        mapped = map_npy(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; it belongs to a teacher sidecar") from None
    except ValueError as error:
        raise DataError(f"{path}: unreadable ({error}); write the sidecar again") from None
    found = "an array of another kind" if mapped is None else f"{mapped.array.dtype} {mapped.array.shape}"
    if mapped is None or mapped.array.dtype != dtype or mapped.array.shape != shape:
        raise DataError(f"{path}: holds {found}; expected {np.dtype(dtype)} {shape}, C order; write the sidecar again")
    return mapped


def _map_frames(path: Path, index: Sequence[IndexLine], dim: int) -> dict[str, MappedArray]:
    for name in (FRAMES_FILE, FRAME_OFFSETS_FILE):
        check_listed(path / name)
    offsets = _map(path / FRAME_OFFSETS_FILE, np.int64, (len(index) + 1,))
    lengths = np.array([line.n_frames for line in index])
    if offsets.array[0] != 0 or not np.array_equal(np.diff(offsets.array), lengths):
        raise DataError(f"{path / FRAME_OFFSETS_FILE}: does not give each row the frames {INDEX_FILE} says; write it again")
    return {FRAME_OFFSETS_FILE: offsets, FRAMES_FILE: _map(path / FRAMES_FILE, np.float16, (int(lengths.sum()), dim))}


def _check_gaussians(teacher: Teacher, arrays: dict[str, MappedArray]) -> None:
    unit_frames = teacher.info["normalized_frames"]
    for start, mean in blocks(teacher.mean, arrays[MEAN_FILE]):
        rows = slice(start, start + len(mean))
        check_rows(teacher.path, teacher.ids[rows], mean, teacher.log_variance[rows], teacher.raw_norm[rows], unit_frames)
        arrays[LOG_VARIANCE_FILE].forget()


def check_rows(
    path: Path, ids: Sequence[str], mean: np.ndarray, log_variance: np.ndarray, raw_norm: np.ndarray, normalized_frames: bool
) -> None:
    """Refuse Gaussians that no frames have.

    Args:
        path: the sidecar.
        ids: teacher ids ``[n]``.
        mean, log_variance: ``[n, D]``.
        raw_norm: ``[n]``.
        normalized_frames: whether frames had unit length.

    Raises:
        DataError: the first fault, with the id.
    """
    for name, values in ((MEAN_FILE, mean), (LOG_VARIANCE_FILE, log_variance), (RAW_NORM_FILE, raw_norm[:, None])):
        _refuse(~np.isfinite(values).all(axis=1), path / name, ids, "a number is NaN or infinite")
    off = np.abs(np.linalg.norm(mean.astype(np.float64), axis=1) - 1)
    _refuse(off > UNIT_TOLERANCE, path / MEAN_FILE, ids, "the mean is not of unit length")
    _refuse(raw_norm < 0, path / RAW_NORM_FILE, ids, "the length is negative")
    if normalized_frames:
        total = np.exp(np.minimum(log_variance.astype(np.float64), 100)).sum(axis=1) + np.square(raw_norm.astype(np.float64))
        _refuse(
            np.abs(total - 1) > IDENTITY_TOLERANCE,
            path / LOG_VARIANCE_FILE,
            ids,
            "variances and the squared raw_norm do not add up to 1, as those of frames of unit length do",
        )


def _refuse(bad: np.ndarray, path: Path, ids: Sequence[str], reason: str) -> None:
    places = np.flatnonzero(bad)
    if len(places):
        more = f" ({len(places):,} such rows)" if len(places) > 1 else ""
        raise DataError(f"{path}, {ids[places[0]]}: {reason}{more}; write the sidecar again from the frames' embeddings")
