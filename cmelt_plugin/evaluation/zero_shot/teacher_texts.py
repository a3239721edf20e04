"""Which texts of a teacher stand for the classes of a labelled split, and the scores of recordings by them.

Texts of a group that bears a class's name stand for it; those of the group ``CLASS/absent`` for its absence. A class that is
one side of a threshold, as ``lvef_lt_40`` or ``LVEF<40`` by its name, has the texts of the group ``lvef`` whose values lie on
its side, and those on the other for its absence.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from cmelt_plugin.data.teacher import TeacherPrompts
from cmelt_plugin.evaluation.embedding.teacher_items import Centring, cosines
from cmelt_plugin.models.base import Embedding

ABSENT = "/absent"
COMPARISONS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    **{"lt": operator.lt, "<": operator.lt, "lte": operator.le, "<=": operator.le, "≤": operator.le},
    **{"gt": operator.gt, ">": operator.gt, "gte": operator.ge, ">=": operator.ge, "≥": operator.ge},
}
_THRESHOLD = re.compile(
    r"(?P<name>.*?[^ _])[ _]*(?:_(?P<word>lte?|gte?)_|(?P<sign>[<>]=?|[≤≥]))[ _]*(?P<limit>\d+(?:\.\d+)?)(?:_flag)?"
)


class TeacherClasses(NamedTuple):
    """C classes of which a teacher has texts.

    Attributes:
        names: the classes.
        present: bool ``[C, T]``, which of the teacher's T texts stand for each.
        absent: bool ``[C, T]``, which for its absence; none where a row is False throughout.
        prompts: the teacher's.
    """

    names: list[str]
    present: np.ndarray
    absent: np.ndarray
    prompts: TeacherPrompts

    def scores(self, ecg: Embedding, centring: Centring | None = None) -> np.ndarray:
        """float32 ``[N, C]``: mean cosine with a class's texts, less that with the texts on its absence where there are any."""
        similarity = cosines(ecg.mean, torch.from_numpy(self.prompts.emb), centring).numpy()
        return similarity @ (_means(self.present) - _means(self.absent)).T.astype(np.float32)

    def texts(self, which: np.ndarray) -> dict[str, list[str]]:
        """Class → its texts, of those in ``which [C, T]``; classes without any are left out."""
        return {name: self.prompts.text[row].tolist() for name, row in zip(self.names, which) if row.any()}


def teacher_classes(prompts: TeacherPrompts, names: Sequence[str]) -> TeacherClasses:
    """The classes out of ``names`` of which the teacher has texts; none of them may be."""
    rows = {}
    for name in names:
        present = prompts.group == name
        absent = prompts.group == f"{name}{ABSENT}"
        if not present.any():
            present, absent = _sides(prompts, name)
        if present.any():
            rows[name] = (present, absent)
    shape = (len(rows), len(prompts.value))
    return TeacherClasses(
        list(rows),
        np.array([present for present, _ in rows.values()], dtype=bool).reshape(shape),
        np.array([absent for _, absent in rows.values()], dtype=bool).reshape(shape),
        prompts,
    )


def _sides(prompts: TeacherPrompts, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Texts on the side of the threshold that a class's name states, and on the other; nothing where it states none."""
    nothing = np.zeros(len(prompts.value), dtype=bool)
    parts = _THRESHOLD.fullmatch(name.strip().lower())
    if parts is None:
        return nothing, nothing
    of_group = np.array([str(group).lower() == parts["name"] for group in prompts.group]) & np.isfinite(prompts.value)
    side = COMPARISONS[parts["word"] or parts["sign"]](prompts.value, float(parts["limit"]))
    return of_group & side, of_group & ~side


def _means(which: np.ndarray) -> np.ndarray:
    """Weights with which a row's texts make a mean; zeros where it has none."""
    return which / np.maximum(which.sum(axis=1, keepdims=True), 1)
