"""Training goes on with the records it was begun with, wherever they lie, or is told to begin an epoch on others."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from finetune_runs import CLASSES, save_pretrained, write_labelled
from pairs import pretraining_task
from tiny import write_manifest

from cmelt_plugin.data.directory.training_data import training_fingerprint
from cmelt_plugin.errors import DataError
from cmelt_plugin.tasks.classification import ClassificationConfig, ClassificationTask
from cmelt_plugin.tasks.identification import IdentificationConfig, IdentificationTask
from tests.tasks.test_classification import model_config


def pretraining(directory):
    task = pretraining_task(directory)
    task.load_dataset("valid")
    assert "training_data" not in task.state.state_dict
    task.load_dataset("train", combine=True)
    return task


def classification(directory, **values):
    task = ClassificationTask(ClassificationConfig(data=str(directory), seed=1, **values))
    task.class_names = list(CLASSES)
    task.load_dataset("train", combine=True)
    return task


def identification(directory):
    task = IdentificationTask(IdentificationConfig(data=str(directory), seed=1))
    task.load_dataset("train", combine=True)
    return task


def saved(task) -> dict:
    return {"task_state": dict(task.state.state_dict)}


@pytest.mark.parametrize("kind", [pretraining, classification, identification])
def test_every_task_goes_on_with_its_own_data_wherever_it_lies(kind, tmp_path) -> None:
    write = write_manifest if kind is pretraining else write_labelled
    state = saved(kind(write(tmp_path / "a")))
    kind(tmp_path / "a").check_resumption(state, "x.pt", "train")
    shutil.copytree(tmp_path / "a", tmp_path / "moved")
    text = (tmp_path / "moved" / "train.tsv").read_text().split("\n", 1)
    (tmp_path / "moved" / "train.tsv").write_text(f"{tmp_path / 'a'}\n{text[1]}")  # the store elsewhere
    kind(tmp_path / "moved").check_resumption(state, "x.pt", "train")
    kind(tmp_path / "moved").check_resumption({"task_state": {}}, "x.pt", "train")  # of a version that did not note it


def rewritten(directory, change) -> None:
    lines = (directory / "train.tsv").read_text().splitlines()
    meta = pq.read_table(directory / "train.meta.parquet")
    order = change(np.arange(len(lines) - 1))
    (directory / "train.tsv").write_text("\n".join([lines[0], *(lines[1 + row] for row in order)]) + "\n")
    pq.write_table(meta.take(order), directory / "train.meta.parquet")
    if (directory / "train.labels.npy").is_file():
        np.save(directory / "train.labels.npy", np.load(directory / "train.labels.npy")[order])


@pytest.mark.parametrize("kind", [pretraining, classification, identification])
@pytest.mark.parametrize("change", [lambda rows: rows[::-1], lambda rows: rows[:-2], lambda rows: np.append(rows, rows[-1])])
def test_other_records_another_order_and_another_number_are_refused(kind, change, tmp_path) -> None:
    write = write_manifest if kind is pretraining else write_labelled
    task = kind(write(tmp_path / "a"))
    state = saved(task)
    rewritten(tmp_path / "a", change)
    with pytest.raises(DataError, match="x.pt: its training had other records.*checkpoint.reset_dataloader=true") as caught:
        task.check_resumption(state, "x.pt", "train")
    assert "\n" not in str(caught.value)


def test_other_people_behind_the_same_rows_are_refused(tmp_path) -> None:
    """Another data set of as many records has the same lines: shard and row."""
    state = saved(classification(write_labelled(tmp_path / "a")))
    other = write_labelled(tmp_path / "b", records_per_subject=3)
    assert (other / "train.tsv").read_bytes() == (tmp_path / "a" / "train.tsv").read_bytes()
    with pytest.raises(DataError, match="other records"):
        classification(other).check_resumption(state, "x.pt", "train")


def test_another_choice_of_labelled_records_is_refused(tmp_path) -> None:
    directory = write_labelled(tmp_path / "a")
    state = saved(classification(directory, fraction=0.5))
    classification(directory, fraction=0.5).check_resumption(state, "x.pt", "train")
    for other in ({}, {"fraction": 0.25}, {"fraction": 0.5, "subset_seed": 7}):
        with pytest.raises(DataError, match="other records"):
            classification(directory, **other).check_resumption(state, "x.pt", "train")


def test_what_training_began_with_is_kept(tmp_path) -> None:
    """The data of the pre-trained encoder, and those of a checkpoint that training goes on from with other records."""
    directory = write_labelled(tmp_path / "a")
    earlier, first = {"order": "sha256:1"}, training_fingerprint(str(directory), "train")
    state = {"training_data": earlier, "earlier_training_data": [None]}
    pretrained = save_pretrained(tmp_path / "p.pt")
    saved_state = torch.load(pretrained, weights_only=False)
    torch.save({**saved_state, "task_state": state}, pretrained)
    task = classification(directory)
    task.build_model(model_config(pretrained))
    assert task.state.state_dict["earlier_training_data"] == [earlier, None]
    assert task.state.state_dict["training_data"] == {**first, "chosen": None}
    other = classification(write_labelled(tmp_path / "b", records_per_subject=3))
    other.state.merge_state_dict(saved(task)["task_state"])
    other.note_training_data("train")
    assert other.state.state_dict["earlier_training_data"] == [{**first, "chosen": None}, earlier, None]
    other.note_training_data("train")
    assert len(other.state.state_dict["earlier_training_data"]) == 3


def test_checkpoints_from_before_go_on(tmp_path) -> None:
    """Their fingerprint of the meta data is that of the file's bytes."""
    directory = write_labelled(tmp_path / "a")
    now = training_fingerprint(str(directory), "train")
    old = {name: value for name, value in now.items() if name != "file"}
    old = {**old, "meta": now["file"], "chosen": None}
    task = classification(directory)
    task.check_resumption({"task_state": {"training_data": old}}, "x.pt", "train")
    task.state.merge_state_dict({"training_data": old, "earlier_training_data": []})
    task.note_training_data("train")
    assert task.state.state_dict["earlier_training_data"] == []
    with pytest.raises(DataError, match="other records"):
        state = {"task_state": {"training_data": {**old, "meta": "sha256:0"}}}
        classification(directory).check_resumption(state, "x.pt", "train")


@pytest.mark.parametrize("known", [3, "x", [], {"records": None}])
def test_odd_states_are_refused(known, tmp_path) -> None:
    task = classification(write_labelled(tmp_path / "a"))
    with pytest.raises(DataError, match="other records"):
        task.check_resumption({"task_state": {"training_data": known}}, "x.pt", "train")


def test_a_split_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(DataError, match="train.tsv: No such file"):
        training_fingerprint(str(tmp_path), "train")
