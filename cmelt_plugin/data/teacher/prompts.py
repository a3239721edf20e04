"""Embeddings of texts by the teacher's own text encoder, ``prompts.npz``, which an ECG's embedding is compared with."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.data.store.npy_files import read_npz
from cmelt_plugin.errors import DataError

PROMPTS_FILE = "prompts.npz"
UNIT_TOLERANCE = 1e-3


class TeacherPrompts(NamedTuple):
    """``C`` texts.

    Attributes:
        emb: float32 ``[C, D]``, of unit length.
        value: float64 ``[C]``, the number a text states, NaN where it states none.
        group: str ``[C]``, what texts belong together: a measurement, or a class.
        text: str ``[C]``.
    """

    emb: np.ndarray
    value: np.ndarray
    group: np.ndarray
    text: np.ndarray


def write_prompts(path: Path, prompts: TeacherPrompts) -> None:
    """Write ``prompts.npz``.

    Raises:
        DataError: the prompts are none (see :func:`read_prompts`).
    """
    prompts = TeacherPrompts(
        np.asarray(prompts.emb, np.float32),
        np.asarray(prompts.value, np.float64),
        np.asarray(prompts.group, np.str_),
        np.asarray(prompts.text, np.str_),
    )
    _check(prompts, path, prompts.emb.shape[-1])
    with atomic_path(path) as temporary:
        np.savez(temporary, **prompts._asdict())


def read_prompts(path: Path, dim: int | None = None) -> TeacherPrompts:
    """Read ``prompts.npz`` of a teacher whose embeddings have ``dim`` numbers; None: any number.

    Raises:
        DataError: damaged, of another dimension, not of unit length, or lists of unequal length.
    """
    try:
        arrays = read_npz(path)
        missing = set(TeacherPrompts._fields) - arrays.keys()
        if missing:
            raise ValueError(f"no array {', '.join(sorted(missing))}")
        emb, value = (np.asarray(arrays[name]) for name in ("emb", "value"))
        if (
            emb.dtype.kind != "f"
            or value.dtype.kind not in "fiu"
            or any(arrays[name].dtype.kind != "U" for name in ("group", "text"))
        ):
            raise ValueError("emb and value must be numbers, group and text strings")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: unreadable ({error}); write the sidecar again") from None
    prompts = TeacherPrompts(emb.astype(np.float32), value.astype(np.float64), arrays["group"], arrays["text"])
    _check(prompts, path, dim)
    return prompts


def _check(prompts: TeacherPrompts, path: Path, dim: int | None) -> None:
    count = prompts.emb.shape[0] if prompts.emb.ndim == 2 else -1
    shapes = {name: getattr(prompts, name).shape for name in prompts._fields}
    if count < 1 or any(shapes[name] != (count,) for name in ("value", "group", "text")):
        raise DataError(f"{path}: arrays of shapes {shapes}; there must be C ≥ 1 rows of emb and C of each other")
    if dim not in (None, prompts.emb.shape[1]):
        raise DataError(f"{path}: embeddings of {prompts.emb.shape[1]} numbers, the teacher's have {dim}")
    off = np.abs(np.linalg.norm(prompts.emb.astype(np.float64), axis=1) - 1)
    bad = np.flatnonzero(~(off < UNIT_TOLERANCE))
    if len(bad):
        raise DataError(f"{path}, row {bad[0]} ({str(prompts.text[bad[0]])[:60]!r}): the embedding is not of unit length")
    if np.isinf(prompts.value).any():
        raise DataError(f"{path}: a value is infinite; give NaN where a text states no number")
