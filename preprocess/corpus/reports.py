"""Reports of manifest directories: those of training records alone.

A report that a record of any other split has too, in any of the directories, is left out, and so is one whose subject has
records in another split. Labelled directories are evaluation sets until the user says otherwise: what models are judged on
must not be what they have read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cmelt_plugin.data.corpus.documents import REPORT
from cmelt_plugin.data.directory.manifest import available_splits
from cmelt_plugin.data.directory.own_files import LABELS_FILE
from cmelt_plugin.data.directory.split_meta import meta_path, read_meta_column
from cmelt_plugin.data.files import fingerprint
from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.errors import DataError
from preprocess.corpus.document import EMPTY, Document, text_digest

TRAIN = "train"
HELD_OUT = "text of a valid or test record"


def check_no_evaluation_set(directories: Iterable[Path], accepted: bool) -> None:
    """
    Args:
        directories: manifest directories.
        accepted: whether the user says that labelled ones are no evaluation sets.

    Raises:
        DataError: one is labelled.
    """
    labelled = [path for path in directories if (path / LABELS_FILE).is_file() or any(path.glob("*.labels.npy"))]
    if labelled and not accepted:
        raise DataError(
            f"{labelled[0]}: has labels, so models may be evaluated on it, and then its reports must not be trained on: give "
            "it as --exclude; or, where nothing is evaluated on the records of its train split, say --accept-labelled"
        )


def subjects(directory: Path, split: str) -> pd.DataFrame:
    """``report`` (-1: none) and ``subject`` of every record; a subject is its source and id, and "" where it is unknown."""
    names = ("report_id", "subject_id", "source")
    columns = {name: read_meta_column(directory, split, name).to_pandas() for name in names}
    subject = columns["source"].fillna("") + "/" + columns["subject_id"]
    return pd.DataFrame({"report": columns["report_id"], "subject": subject.where(columns["subject_id"] != "", "")})


def held_out_texts(directories: Iterable[Path]) -> set[bytes]:
    """Digests of the reports of all records that are not for training."""
    found = set()
    for directory in directories:
        statements = read_reports(directory).statements
        for split in _others(directory):
            ids = subjects(directory, split)["report"].to_numpy()
            found |= {text_digest(statements[int(report)].as_py()) for report in np.unique(ids[ids >= 0])}
    return found


def all_texts(directories: Iterable[Path]) -> set[bytes]:
    """Digests of all reports of directories."""
    return {text_digest(statements) for path in directories for statements in read_reports(path).statements.to_pylist()}


@dataclass(frozen=True)
class TrainingReports:
    """The reports of a manifest directory's training records.

    Attributes:
        directory: the manifest directory.
        directories: all that the corpus is made of, whose other splits no document may come from.
    """

    directory: Path
    directories: tuple[Path, ...]
    kind = REPORT

    @property
    def name(self) -> str:
        return self.directory.name

    def state(self) -> list[Any]:
        splits = [(path, split) for path in self.directories for split in available_splits(path)]
        return [
            *("reports", self.name, read_reports(self.directory).statements_fingerprint),
            [[path == self.directory, split, fingerprint(meta_path(path, split))] for path, split in splits],
        ]

    def documents(self, left_out: Counter[str]) -> Iterator[Document]:
        if TRAIN not in available_splits(self.directory):
            raise DataError(f"{self.directory}: no training split ({TRAIN}.tsv with {TRAIN}.meta.parquet)")
        statements = read_reports(self.directory).statements
        records = subjects(self.directory, TRAIN)
        records = records[records["report"] >= 0]
        odd = records["report"].max() if len(records) else -1
        if odd >= len(statements):
            raise DataError(f"{meta_path(self.directory, TRAIN)}: report_id {odd}, but there are {len(statements)} reports")
        others = [subjects(path, split)["subject"] for path in self.directories for split in _others(path)]
        held_out = set().union(*others) - {""}
        # Of unknown subjects every record is one of its own.
        names = records["subject"].where(records["subject"] != "", [f"{self.name}/record {row}" for row in records.index])
        found: dict[Any, Any] = names.groupby(records["report"]).agg(lambda column: sorted(set(column))).to_dict()
        left_out["of no training record"] += len(statements) - len(found)
        for report, units in sorted(found.items()):
            parts = statements[int(report)].as_py()
            if not any(map(str.isalnum, "".join(parts))):
                left_out[EMPTY] += 1
            elif not held_out.isdisjoint(units):
                left_out["subject of a valid or test record"] += 1
            else:
                yield Document(f"{self.name}:{report}", units, parts)


def _others(directory: Path) -> list[str]:
    return [split for split in available_splits(directory) if split != TRAIN]
