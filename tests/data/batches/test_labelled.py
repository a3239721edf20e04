import json

import numpy as np
import pytest
import torch
from finetune_runs import write_labelled
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.data.batches.labelled import LabelledECGDataset, LabelledOptions, labels_by_name, subject_ids
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.leads import lead_keep_mask
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_labelled(tmp_path_factory.mktemp("labelled") / "m", {"train": 12, "valid": 6}, unknown=0.2)


@pytest.fixture(scope="module")
def manifest(directory):
    return Manifest.open(directory, "train")


def dataset(manifest, labels=None, subject=None, rows=None, **options):
    labels = np.zeros((12, 3), dtype=np.float32) if labels is None else labels
    return LabelledECGDataset(manifest, LabelledOptions(**options), labels, subject, rows)


def test_a_batch_holds_recordings_and_labels_in_millivolts(directory, manifest):
    values, _ = manifest.labels()
    batch = dataset(manifest, labels=values, subject=np.arange(12), train=False).collater([3, 0])
    assert batch["id"].tolist() == [3, 0]
    store = RecordStore(manifest.store_root)
    expected = store.read(manifest.shard[[3, 0]], manifest.row[[3, 0]])
    assert torch.equal(batch["net_input"]["ecg"], torch.from_numpy(expected))
    assert batch["net_input"]["lead_mask"] is None and batch["net_input"]["n_samples"] is None
    np.testing.assert_array_equal(batch["labels"].numpy(), values[[3, 0]])  # NaN stays NaN
    assert batch["subject"].tolist() == [3, 0]
    assert dataset(manifest).collater([]) == {}


def test_leads_that_are_not_chosen_are_flagged_in_every_split(manifest):
    for train in (True, False):
        data = dataset(manifest, train=train, keep=lead_keep_mask(["I", "II", "V2"]))
        mask = data.collater([0, 1])["net_input"]["lead_mask"]
        assert mask.tolist() == [[i not in (0, 1, 7) for i in range(12)]] * 2


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 11), min_size=1), st.floats(0, 1), st.integers(0, 100))
def test_random_masks_only_take_leads_away_and_leave_one(manifest, leads, probability, seed):
    keep = np.isin(np.arange(12), list(leads))
    data = dataset(manifest, train=True, seed=seed, keep=keep, lead_mask_probability=probability)
    mask = data.lead_mask(np.arange(12))
    if mask is None:
        assert keep.all()
        return
    assert mask[:, ~keep].all()
    assert (~mask).any(axis=1).all()
    if probability == 0:
        assert not mask[:, keep].any()
    if probability == 1:
        assert ((~mask).sum(axis=1) == 1).all()


def test_random_masks_depend_on_epoch_and_record_alone_and_are_for_training(manifest):
    data = dataset(manifest, train=True, lead_mask_probability=0.5)
    first = data.lead_mask(np.arange(12))
    np.testing.assert_array_equal(data.lead_mask(np.array([7, 2])), first[[7, 2]])
    data.set_epoch(2)
    assert (data.lead_mask(np.arange(12)) != first).any()
    assert dataset(manifest, train=False, lead_mask_probability=0.5).lead_mask(np.arange(12)) is None


def test_order_is_new_every_epoch_in_training_and_stays_in_the_chosen_rows(manifest):
    rows = np.array([1, 4, 5, 9])
    data = dataset(manifest, train=True, rows=rows)
    assert len(data) == 4
    orders = []
    for epoch in range(1, 6):
        data.set_epoch(epoch)
        orders.append(tuple(data.ordered_indices().tolist()))
    assert {tuple(sorted(order)) for order in orders} == {(1, 4, 5, 9)} and len(set(orders)) > 1
    assert dataset(manifest, train=False, rows=rows).ordered_indices().tolist() == [1, 4, 5, 9]
    assert not data.can_reuse_epoch_itr_across_epochs


def test_columns_are_read_by_name(tmp_path):
    """D-E1: the released code takes them by position, where train and test files differ."""
    a = write_labelled(tmp_path / "a", {"train": 8}, classes=["LOUD", "SINE", "DRIFT"])
    b = write_labelled(tmp_path / "b", {"train": 8}, classes=["DRIFT", "LOUD", "SINE"])
    wanted = ["LOUD", "SINE", "DRIFT"]
    one, other = (labels_by_name(Manifest.open(folder, "train"), wanted) for folder in (a, b))
    np.testing.assert_array_equal(one, other)
    assert one.dtype == np.float32 and one.any()
    with pytest.raises(DataError, match=r"labels.json: not the classes of the model; missing AFIB; unknown to it SINE"):
        labels_by_name(Manifest.open(a, "train"), ["LOUD", "AFIB", "DRIFT"])
    with pytest.raises(DataError, match="missing AFIB"):
        labels_by_name(Manifest.open(a, "train"), [*wanted, "AFIB"])
    (b / "labels.json").write_text(json.dumps({"label_set": "", "names": ["LOUD", "LOUD", "SINE"]}))
    with pytest.raises(DataError, match="a class is named twice"):
        labels_by_name(Manifest.open(b, "train"), wanted)
    (b / "train.labels.npy").unlink()
    with pytest.raises(DataError, match=r"train.labels.npy: no such file.*preprocess/labels.py"):
        labels_by_name(Manifest.open(b, "train"), wanted)


def test_subject_ids(manifest):
    assert subject_ids(manifest).tolist() == [f"s{i // 2}" for i in range(12)]


def test_labels_from_which_nothing_can_be_learnt_are_refused_in_training(manifest):
    unknown = np.full((12, 3), np.nan, dtype=np.float32)
    dataset(manifest, unknown, train=False)
    with pytest.raises(DataError, match="train.labels.npy: .* unknown for all 12 records: .*nothing can be learnt"):
        dataset(manifest, unknown)
    one = np.zeros((12, 3), dtype=np.float32)
    one[:, 1] = np.nan
    with pytest.raises(DataError, match=f"all 12 records: {manifest.labels()[1][1]}; nothing"):
        dataset(manifest, one)
    some = unknown.copy()
    some[0] = 1
    dataset(manifest, some, rows=np.array([0, 1]))
    with pytest.raises(DataError, match="every label of the 2 records to be trained on is unknown"):
        dataset(manifest, some, rows=np.array([1, 2]))


def test_sets_of_leads_are_drawn_among_those_of_the_task_by_epoch_and_record_and_in_training(manifest):
    options = {"keep": lead_keep_mask(["I", "II", "V2", "V5"]), "lead_sets": "all I+II any"}
    data = dataset(manifest, train=True, **options)
    whole = data.collater(np.arange(12))["net_input"]["lead_mask"]
    assert whole[:, ~options["keep"]].all() and not whole.all(dim=1).any() and len(whole.unique(dim=0)) > 2
    assert torch.equal(data.collater([7, 2])["net_input"]["lead_mask"], whole[[7, 2]])
    data.set_epoch(2)
    assert not torch.equal(data.collater(np.arange(12))["net_input"]["lead_mask"], whole)
    mask = dataset(manifest, train=False, **options).collater([0, 1])["net_input"]["lead_mask"]
    assert mask.tolist() == [(~options["keep"]).tolist()] * 2
