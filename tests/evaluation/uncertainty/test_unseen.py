"""What training saw is refused, however its files were written since."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest
from finetune_runs import write_labelled

from cmelt_plugin.data.directory.training_data import training_fingerprint
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.uncertainty.unseen import Training, check_unseen


def test_training_data_are_recognised_when_their_meta_file_is_written_again(tmp_path) -> None:
    directory = write_labelled(tmp_path / "m", {"train": 20, "valid": 20, "test": 4})
    data = training_fingerprint(str(directory), "train")
    path = directory / "train.meta.parquet"
    table = pq.read_table(path)
    path.unlink()
    pq.write_table(table, path, compression="gzip")
    listed = directory / "checksums.json"
    if listed.is_file():
        with pytest.raises(DataError, match="train.meta.parquet: changed since it was written"):
            check_unseen(directory, "valid", Training("c.pt", data))
        listed.unlink()
    with pytest.raises(DataError, match="m/train: c.pt was trained on these records"):
        check_unseen(directory, "train", Training("c.pt", data))
    assert check_unseen(directory, "valid", Training("c.pt", data, str(directory))) == ""
    # Of a checkpoint from before only the file's bytes are known.
    old = {name: value for name, value in data.items() if name != "file"}
    said = check_unseen(directory, "valid", Training("c.pt", {**old, "meta": data["file"]}, str(directory)))
    assert said.startswith("The training data of c.pt cannot be recognised in ")
    assert check_unseen(directory, "valid", Training("c.pt", data, str(tmp_path / "gone"))) == ""
