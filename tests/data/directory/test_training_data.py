"""A split is recognised by whose records it holds, however its files were written."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
from finetune_runs import write_labelled

from cmelt_plugin.data.directory.training_data import same_records, same_training, training_fingerprint


def rewrite(directory, change=lambda table: table, **options) -> None:
    path = directory / "train.meta.parquet"
    table = change(pq.read_table(path))
    path.unlink()
    pq.write_table(table, path, **options)
    (directory / "checksums.json").unlink(missing_ok=True)


def renamed(table, column):
    names = [f"x{name}" for name in table[column].to_pylist()]
    return table.set_column(table.column_names.index(column), column, pa.array(names))


def test_a_rewritten_file_holds_the_same_records(tmp_path) -> None:
    directory = write_labelled(tmp_path / "m", {"train": 12, "valid": 4})
    then = training_fingerprint(str(directory), "train")
    rewrite(directory, compression="gzip")
    again = training_fingerprint(str(directory), "train")
    assert again["file"] != then["file"] and same_records(again, then)
    rewrite(directory, lambda table: table.append_column("ward", pa.array(["3"] * 12)))
    assert same_records(training_fingerprint(str(directory), "train"), then)
    for column in ("record_id", "subject_id"):
        other = write_labelled(tmp_path / column, {"train": 12, "valid": 4})
        rewrite(other, lambda table, column=column: renamed(table, column))
        assert not same_records(training_fingerprint(str(other), "train"), then)


def test_fingerprints_from_before_are_compared_as_before(tmp_path) -> None:
    """Their ``meta`` is of the file's bytes; some have none."""
    directory = write_labelled(tmp_path / "m", {"train": 12, "valid": 4})
    now = training_fingerprint(str(directory), "train")
    old = {"split": "train", "records": 12, "order": now["order"], "meta": now["file"]}
    assert same_records(now, old) and same_records(old, now) and same_training(old, now)
    assert not same_records(now, {**old, "meta": "sha256:0"}) and not same_training({**old, "meta": "sha256:0"}, now)
    assert same_records(now, {"order": now["order"]}) and not same_records(now, {"order": "sha256:0"})
    assert not same_records(now, {}) and not same_training(None, now) and same_training(now, now)
    assert same_records(now, {"order": None, "meta": now["meta"]})  # as linear probes say it
    rewrite(directory, compression="gzip")
    assert not same_records(training_fingerprint(str(directory), "train"), old)  # nothing else is known
