"""Nobody is in the training set and in another split."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_echo import write_echo_manifest

from cmelt_plugin.data.directory.subjects import check_disjoint
from cmelt_plugin.errors import DataError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_echo_manifest(tmp_path / "m", 12, splits=("train", "valid", "test"))


def rename(directory: Path, split: str, row: int, subject: str) -> None:
    path = directory / f"{split}.meta.parquet"
    table = pq.read_table(path)
    names = table["subject_id"].to_pylist()
    names[row] = subject
    pq.write_table(table.set_column(table.column_names.index("subject_id"), "subject_id", pa.array(names)), path)


def test_splits_without_a_common_subject_pass(directory) -> None:
    check_disjoint(directory, "train")
    for split in ("train", "test"):
        rename(directory, split, 3, "")  # nobody is known to be the same
    check_disjoint(directory, "train")


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_subject_with_a_report_in_one_and_an_echocardiogram_in_the_other_is_found(directory, split: str) -> None:
    rename(directory, split, 11, "train-subject0")  # of ecg_echo; in train of ecg_text
    with pytest.raises(DataError, match=f"1 subjects of train are in {split}, too .*'train-subject0'.*split by subject"):
        check_disjoint(directory, "train")
