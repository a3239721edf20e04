"""Writing a teacher sidecar, row by row; ``meta.json`` last, so that a folder that holds it is complete."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from cmelt_plugin.data.directory.checksums import CHECKSUMS_FILE
from cmelt_plugin.data.directory.own_files import REJECTED_FILE, REJECTED_HEADER, target_of_temporary
from cmelt_plugin.data.directory.replacing import directory_lock, entry_of, write_checksums
from cmelt_plugin.data.files import atomic_path, write_json
from cmelt_plugin.data.store.npy_rows import NpyRows
from cmelt_plugin.data.teacher.entries import TeacherEntry
from cmelt_plugin.data.teacher.gaussian import EPS
from cmelt_plugin.data.teacher.index import INDEX_FILE, IndexLine, check_text, write_index
from cmelt_plugin.data.teacher.prompts import PROMPTS_FILE, TeacherPrompts, write_prompts
from cmelt_plugin.data.teacher.reading import (
    FRAME_OFFSETS_FILE,
    FRAMES_FILE,
    LEVELS,
    LOG_VARIANCE_FILE,
    MEAN_FILE,
    META_FILE,
    RAW_NORM_FILE,
    SCHEMA_VERSION,
    check_rows,
)
from cmelt_plugin.errors import DataError

ARRAYS = (MEAN_FILE, LOG_VARIANCE_FILE, RAW_NORM_FILE, FRAMES_FILE, FRAME_OFFSETS_FILE)
OWN_FILES = (*ARRAYS, INDEX_FILE, PROMPTS_FILE, REJECTED_FILE, META_FILE, CHECKSUMS_FILE)


def write_teacher(
    path: str | os.PathLike,
    entries: Iterable[TeacherEntry],
    *,
    encoder: str,
    level: str,
    normalized_frames: bool = True,
    weights_sha256: str = "",
    frame_stride: int = 1,
    eps: float = EPS,
    view_filter: str = "",
    channel_order: str = "",
    created: str | None = None,
    prompts: TeacherPrompts | None = None,
    rejected: Collection[tuple[str, str, str]] = (),
) -> Path:
    """Write a teacher sidecar over an earlier one, if there is one.

    Args:
        path: the folder; it may hold nothing but a sidecar.
        entries: one or more, one after the other; all with frames, or none.
        encoder: what embedded the frames, such as ``echo-clip`` or ``synthetic``.
        level: ``study`` or ``video``: what an entry is of.
        normalized_frames: whether frames were brought to unit length.
        weights_sha256: of the encoder's weights; empty = unknown.
        frame_stride: every how many frames of a video one was embedded.
        eps: added to variances before the logarithm.
        view_filter: which views were chosen; empty = all.
        channel_order: of the frames' colours as the encoder saw them, ``RGB`` or ``BGR``; empty = unknown.
        created: ISO 8601; None: now.
        prompts: embeddings of texts by the same teacher.
        rejected: id, path and reason of what could not be used, for ``rejected.tsv``; may grow while ``entries`` are taken.

    Raises:
        DataError: the folder holds other files; there is no entry; an id occurs twice; a Gaussian that no frames have.
    """
    path = Path(path)
    if level not in LEVELS:
        raise DataError(f"level must be {' or '.join(LEVELS)}, not {level!r:.40}")
    with directory_lock(path):
        _clear(path)
        index, dim = _write_arrays(path, entries, normalized_frames)
        write_index(path / INDEX_FILE, index)
        if prompts is not None:
            if prompts.emb.shape[-1] != dim:
                raise DataError(f"{path}: prompts of {prompts.emb.shape[-1]} numbers, the frames have {dim}")
            write_prompts(path / PROMPTS_FILE, prompts)
        if rejected:
            with atomic_path(path / REJECTED_FILE) as temporary:
                rows = ["\t".join(" ".join(text.split()) for text in row) for row in rejected]
                temporary.write_text("\n".join([REJECTED_HEADER, *rows]) + "\n", encoding="utf-8")
        names = [name for name in (*ARRAYS, INDEX_FILE, PROMPTS_FILE, REJECTED_FILE) if (path / name).is_file()]
        write_checksums(path, {name: entry_of(path / name) for name in names})
        write_json(
            path / META_FILE,
            {
                "schema_version": SCHEMA_VERSION,
                "encoder": encoder,
                "weights_sha256": weights_sha256,
                "dim": dim,
                "level": level,
                "normalized_frames": normalized_frames,
                "frame_stride": frame_stride,
                "eps": eps,
                "view_filter": view_filter,
                "channel_order": channel_order,
                "created": datetime.now(timezone.utc).isoformat(timespec="seconds") if created is None else created,
                "n_items": len(index),
            },
        )
    return path


def _clear(path: Path) -> None:
    """Remove an earlier sidecar, the file that says it is complete first."""
    others = [file.name for file in path.iterdir() if (target_of_temporary(file.name) or file.name) not in OWN_FILES]
    if others:
        raise DataError(f"{path}: holds {sorted(others)[0]}, which is not of a teacher sidecar; choose another folder")
    for name in (META_FILE, CHECKSUMS_FILE):
        (path / name).unlink(missing_ok=True)
    for file in list(path.iterdir()):
        file.unlink()


def _write_arrays(path: Path, entries: Iterable[TeacherEntry], normalized_frames: bool) -> tuple[list[IndexLine], int]:
    index: list[IndexLine] = []
    ids: set[str] = set()
    offsets = [0]
    with ExitStack() as stack:

        def rows_of(name: str, dtype: type, shape: tuple[int, ...]) -> NpyRows:
            handle = stack.enter_context(open(stack.enter_context(atomic_path(path / name)), "wb"))
            rows = NpyRows(handle, dtype, shape)
            stack.callback(rows.finish)
            return rows

        files: dict[str, NpyRows] = {}
        for entry in entries:
            if not index:
                shape = np.shape(entry.mean)
                for name, row_shape in ((MEAN_FILE, shape), (LOG_VARIANCE_FILE, shape), (RAW_NORM_FILE, ())):
                    files[name] = rows_of(name, np.float32, row_shape)
                if entry.frames is not None:
                    files[FRAMES_FILE] = rows_of(FRAMES_FILE, np.float16, shape)
            _check_entry(path, entry, shape, FRAMES_FILE in files, normalized_frames)
            if entry.teacher_id in ids:
                raise DataError(f"{path}: teacher_id {entry.teacher_id} occurs twice; ids must be unique")
            ids.add(entry.teacher_id)
            row = files[MEAN_FILE].append(np.asarray(entry.mean))
            files[LOG_VARIANCE_FILE].append(np.asarray(entry.log_variance))
            files[RAW_NORM_FILE].append(np.asarray(entry.raw_norm))
            if entry.frames is not None:
                files[FRAMES_FILE].extend(np.asarray(entry.frames))
                offsets.append(offsets[-1] + entry.n_frames)
            index.append(IndexLine(entry.teacher_id, row, entry.n_frames, entry.n_videos, entry.subject_id, entry.acq_time))
        if not index:
            raise DataError(f"{path}: no echocardiogram to write")
        if FRAMES_FILE in files:
            offset_rows = rows_of(FRAME_OFFSETS_FILE, np.int64, ())
            offset_rows.extend(np.array(offsets))
    return index, shape[0]


def _check_entry(path: Path, entry: TeacherEntry, shape: tuple[int, ...], with_frames: bool, normalized_frames: bool) -> None:
    for what in ("teacher_id", "subject_id", "acq_time"):
        check_text(f"{path}: {what}", getattr(entry, what))
    mean, log_variance = np.asarray(entry.mean), np.asarray(entry.log_variance)
    place = f"{path}, {entry.teacher_id!r:.80}"
    if not entry.teacher_id or mean.ndim != 1 or not mean.size or mean.shape != shape or log_variance.shape != shape:
        raise DataError(f"{place}: mean {mean.shape}, log-variance {log_variance.shape}; the first has {shape}")
    frames = None if entry.frames is None else np.shape(entry.frames)
    if (frames is not None) != with_frames or frames not in (None, (entry.n_frames, *shape)):
        raise DataError(f"{place}: frames {frames}; entries must all hold theirs, here [{entry.n_frames}, {shape[0]}], or none")
    if entry.n_frames < 1 or entry.n_videos < 1:
        raise DataError(f"{place}: {entry.n_frames} frames, {entry.n_videos} videos; at least one of each")
    check_rows(path, [entry.teacher_id], mean[None], log_variance[None], np.array([entry.raw_norm]), normalized_frames)
