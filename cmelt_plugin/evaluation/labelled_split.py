"""A labelled split as the evaluation commands see it, and the result of one on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import read_json
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.options import CommandFacts
from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.evaluation.zero_shot.class_texts import read_label_set


class LabelledSplit(NamedTuple):
    """N records of a manifest directory and their labels.

    Attributes:
        manifest: where the recordings are.
        data_set: e.g. "ptb-xl".
        label_set: e.g. "ptb-xl-super"; "" where labels.json names none.
        names: the C classes.
        labels: ``[N, C]`` 1/0, NaN = unknown.
        record_id, subject_id: N strings; an empty subject stands for an unknown one.
        label_notes: what the directory's manifest.json says about its labels, e.g. that CSN's are the exact ones.
    """

    manifest: Manifest
    data_set: str
    label_set: str
    names: list[str]
    labels: np.ndarray
    record_id: list[str]
    subject_id: list[str]
    label_notes: list[str]

    @property
    def n_subjects(self) -> int:
        return count_subjects(self.subject_id)


def open_labelled(directory: str | Path, split: str) -> LabelledSplit:
    """Open one split of a labelled manifest directory.

    Raises:
        DataError: the split or its labels are missing, or files contradict each other.
    """
    directory = Path(directory)
    manifest = Manifest.open(directory, split)
    labelled = manifest.labels()
    if labelled is None:
        raise DataError(
            f"{directory}/{split}.labels.npy: no such file; labels come from the data set's command of preprocess/ or from "
            "preprocess/labels.py"
        )
    labels, names = labelled
    meta = manifest.meta(["record_id", "subject_id", "source"])
    columns = [meta[name].to_pylist() for name in ("record_id", "subject_id", "source")]
    notes = _manifest_json(directory).get("notes")
    return LabelledSplit(
        manifest,
        data_set_name(directory, columns[2]),
        read_label_set(directory),
        names,
        np.asarray(labels, dtype=np.float32),
        columns[0],
        columns[1],
        [str(note) for note in notes if "label" in str(note)] if isinstance(notes, list) else [],
    )


def result_on(split: LabelledSplit, kind: str, facts: CommandFacts, **values: Any) -> Result:
    """The result of a command on a whole split; ``values``: all other fields of :class:`Result`."""
    return Result(
        kind=kind,
        model=facts.model,
        checkpoint=facts.checkpoint,
        data_set=split.data_set,
        label_set=split.label_set,
        split=split.manifest.split,
        n_records=len(split.record_id),
        n_subjects=split.n_subjects,
        command=facts.command,
        **values,
    )


def data_set_name(directory: Path, sources: Sequence[str]) -> str:
    """Name of the data set: manifest.json's, else what the records' meta data say."""
    named = _manifest_json(directory).get("data_set")
    return str(named) if named else "+".join(sorted(set(sources)))


def _manifest_json(directory: Path) -> dict[str, Any]:
    path = directory / "manifest.json"
    values = read_json(path) if path.is_file() else {}
    return values if isinstance(values, dict) else {}


def count_subjects(subject_id: Sequence[str]) -> int:
    """Different subjects; each record of an unknown one counts as a subject of its own."""
    known = {subject for subject in subject_id if subject}
    return len(known) + sum(1 for subject in subject_id if not subject)


def folder_names(directories: Sequence[Path]) -> list[str]:
    """A name per manifest directory, its last part; of equal ones the later get a number."""
    names: list[str] = []
    for directory in directories:
        base = directory.resolve().name or "manifest"
        name, number = base, 2
        while name in names:
            name, number = f"{base}-{number}", number + 1
        names.append(name)
    return names
