"""Which records of a split belong to which item of a teacher sidecar, and the teacher's items and texts as embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cmelt_plugin.data.teacher import Teacher, TeacherPrompts, open_teacher
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.kinds import silent_embedding
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference.pretrained import Pretrained

if TYPE_CHECKING:  # predictions of values need no manifest directory, nor what reads one
    from cmelt_plugin.data.directory.manifest import Manifest

TEACHER_ID = "teacher_id"
"""Column of ``SPLIT.meta.parquet``: a record's item of the sidecar; null or empty = none."""


class TeacherPairs(NamedTuple):
    """The N records of a split whose item is in the sidecar.

    Attributes:
        rows: int64 ``[N]``, their rows of the manifest.
        item: int64 ``[N]``, place of each record's item among the U distinct ones.
        item_row: int64 ``[U]``, rows of the sidecar.
        without: records that name no item.
        unknown: records that name one the sidecar does not hold.
    """

    rows: np.ndarray
    item: np.ndarray
    item_row: np.ndarray
    without: int
    unknown: int


def teacher_pairs(manifest: Manifest, teacher: Teacher) -> TeacherPairs:
    """Match the records of a split with a sidecar.

    Raises:
        DataError: the split's meta file has no column ``teacher_id``.
    """
    ids = [str(name or "") for name in manifest.meta([TEACHER_ID])[TEACHER_ID].to_pylist()]
    in_sidecar = [row for row, name in enumerate(ids) if name and name in teacher]
    item_row, item = np.unique(teacher.rows([ids[row] for row in in_sidecar]), return_inverse=True)
    without = sum(not name for name in ids)
    rows = np.array(in_sidecar, dtype=np.int64)
    return TeacherPairs(rows, item.reshape(-1).astype(np.int64), item_row, without, len(ids) - len(rows) - without)


def item_embedding(teacher: Teacher, rows: np.ndarray) -> Embedding:
    """The teacher's Gaussians of U rows."""
    return Embedding(torch.from_numpy(np.array(teacher.mean[rows])), torch.from_numpy(np.array(teacher.log_variance[rows])))


def open_teacher_of(pretrained: Pretrained, path: Path) -> Teacher:
    """A sidecar in the space of a model's embeddings.

    Raises:
        DataError: damaged, or of another width than the model's embeddings.
    """
    teacher = open_teacher(path)
    width = silent_embedding(pretrained).mean.shape[1]
    if width != teacher.dim:
        raise DataError(
            f"{path}: embeddings of {teacher.dim} numbers, those of {pretrained.source} have {width}; a model is compared with "
            "the teacher it was trained with"
        )
    return teacher


def prompts_of(teacher: Teacher) -> TeacherPrompts:
    """The teacher's embeddings of texts.

    Raises:
        DataError: the sidecar has none.
    """
    prompts = teacher.prompts()
    if prompts is None:
        raise DataError(f"{teacher.path}: has no prompts.npz, the teacher's embeddings of texts; make the sidecar with them")
    return prompts


class Centring(NamedTuple):
    """Means that are taken away from two kinds of unit vectors, so that both lie around the origin.

    Attributes:
        ecg: ``[D]``, mean over recordings that are not evaluated.
        text: ``[D]``, mean over the texts.
    """

    ecg: Tensor
    text: Tensor

    @classmethod
    def of(cls, ecg: Tensor, text: Tensor) -> Centring:
        """The means of ``ecg [N, D]`` and ``text [T, D]``, of each vector at unit length."""
        return cls(F.normalize(ecg, dim=-1).mean(dim=0), F.normalize(text, dim=-1).mean(dim=0))

    @property
    def gap(self) -> float:
        """Distance between the two means (the modality gap, Liang et al. 2022)."""
        return float((self.ecg - self.text).norm())


def cosines(ecg: Tensor, text: Tensor, centring: Centring | None = None) -> Tensor:
    """Cosines of A and B vectors, ``[A, D]`` and ``[B, D]`` → ``[A, B]``, after centring where asked."""
    if centring is not None:
        ecg, text = F.normalize(ecg, dim=-1) - centring.ecg, F.normalize(text, dim=-1) - centring.text
    return F.normalize(ecg, dim=-1) @ F.normalize(text, dim=-1).T
