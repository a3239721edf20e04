from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cmelt_plugin.data.directory.split_meta import META_SCHEMA
from cmelt_plugin.data.files import write_json
from cmelt_plugin.data.text.reports import write_reports
from cmelt_plugin.errors import DataError
from preprocess.corpus.document import is_held_out, text_digest
from preprocess.corpus.reports import TrainingReports, all_texts, check_no_evaluation_set, held_out_texts

TEXTS = ["normal ecg", "sinus rhythm", "atrial fibrillation", "left bundle branch block", "st elevation", "pause", "flutter"]


def write_manifest(
    directory: Path, splits: Mapping[str, Sequence[tuple[str, int]]], source: str = "set", texts: Sequence[str] = TEXTS
) -> Path:
    """As far as texts are concerned: split → (subject, report) of each record."""
    directory.mkdir(parents=True)
    write_reports(directory, texts, [1] * len(texts), [text.split(" ", 1) for text in texts])
    for split, records in splits.items():
        subjects, reports = zip(*records)
        n = len(records)
        values = [
            [f"{split}{i}" for i in range(n)],
            subjects,
            reports,
            [""] * n,
            [None] * n,
            [source] * n,
            [""] * n,
            [500.0] * n,
        ]
        table = pa.table([pa.array(column, field.type) for column, field in zip(values, META_SCHEMA)], schema=META_SCHEMA)
        pq.write_table(table, directory / f"{split}.meta.parquet")
        (directory / f"{split}.tsv").write_text(".\n")
    return directory


def reports(directory: Path, *others: Path):
    left_out: Counter[str] = Counter()
    found = list(TrainingReports(directory, (directory, *others)).documents(left_out))
    return {one.name: list(one.units) for one in found}, dict(left_out)


def test_reports_of_training_records_alone(tmp_path: Path) -> None:
    train = [("a", 0), ("b", 0), ("a", 1), ("", 2), ("", 2), ("c", 3), ("d", -1), ("e", 5)]
    directory = write_manifest(tmp_path / "m", {"train": train, "valid": [("x", 4), ("c", 1)], "test": [("y", 5)]})
    found, left_out = reports(directory)
    assert found == {
        "m:0": ["set/a", "set/b"],
        "m:1": ["set/a"],
        "m:2": ["m/record 3", "m/record 4"],
        "m:5": ["set/e"],
    }
    # Report 3 is that of a subject with a validation record, 4 and 6 have no training record.
    assert left_out == {"subject of a valid or test record": 1, "of no training record": 2}
    # What a validation or test record says, too, is known by its text, whatever file it comes from.
    assert held_out_texts([directory]) == {text_digest([TEXTS[report]]) for report in (1, 4, 5)}


def test_subjects_held_out_of_one_directory_are_held_out_of_all(tmp_path: Path) -> None:
    first = write_manifest(tmp_path / "first", {"train": [("a", 0), ("b", 1)]})
    second = write_manifest(tmp_path / "second", {"train": [("z", 0)], "valid": [("b", 6)]})
    foreign = write_manifest(tmp_path / "foreign", {"valid": [("a", 6)]}, source="another set")
    found, left_out = reports(first, second, foreign)
    assert list(found) == ["first:0"] and left_out["subject of a valid or test record"] == 1
    states = [TrainingReports(first, others).state() for others in ((first,), (first, second))]
    assert states[0] != states[1]


def test_labelled_directories_are_evaluation_sets(tmp_path: Path) -> None:
    directory = write_manifest(tmp_path / "m", {"train": [("a", 0)]})
    check_no_evaluation_set([directory], accepted=False)
    write_json(directory / "labels.json", {"names": ["AFIB"]})
    with pytest.raises(DataError, match="m: has labels.*--exclude.*--accept-labelled"):
        check_no_evaluation_set([directory], accepted=False)
    check_no_evaluation_set([directory], accepted=True)
    assert all_texts([directory]) == {text_digest([text]) for text in TEXTS}


def test_directories_without_training_records_or_with_other_reports_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training split"):
        reports(write_manifest(tmp_path / "v", {"valid": [("a", 0)]}))
    with pytest.raises(DataError, match="report_id 9, but there are 7 reports"):
        reports(write_manifest(tmp_path / "m", {"train": [("a", 9)]}))


def test_held_out_are_whole_units_whatever_else_there_is() -> None:
    units = [f"subject {number}" for number in range(4000)]
    chosen = {unit for unit in units if is_held_out([unit], 0.1, 1)}
    assert 320 < len(chosen) < 480
    assert chosen != {unit for unit in units if is_held_out([unit], 0.1, 2)}
    assert all(is_held_out([one, two], 0.1, 1) == (one in chosen and two in chosen) for one, two in zip(units, units[1:]))
    assert chosen < {unit for unit in units if is_held_out([unit], 0.3, 1)}
