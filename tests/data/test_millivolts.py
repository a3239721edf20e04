"""Integers that become millivolts on the device are the millivolts of the store, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import write_manifest

from cmelt_plugin.data.batches.ecg import ECGDataset
from cmelt_plugin.data.batches.labelled import LabelledECGDataset, LabelledOptions
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.millivolts import batch_in_mv, to_mv
from cmelt_plugin.data.store.record_store import RecordStore
from tests.models.cmelt import batches


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_manifest(tmp_path_factory.mktemp("m"), n_records=12, splits=("train",), short_row=5)


def test_every_step_becomes_the_float_that_numpy_gives() -> None:
    every = torch.arange(-32768, 32768).to(torch.int16)
    np.testing.assert_array_equal(to_mv(every, 0.001).numpy(), every.numpy().astype(np.float32) * np.float32(0.001))


def test_floating_point_numbers_are_millivolts_already() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        ecg = torch.ones(2, dtype=dtype)
        assert to_mv(ecg, 0.5) is ecg


@pytest.mark.parametrize("kind", ["bare", "pairs", "labelled"])
def test_a_batch_of_steps_becomes_the_batch_in_millivolts(directory, kind: str) -> None:
    manifest = Manifest.open(directory, "train")
    data = {
        "bare": lambda: ECGDataset(manifest),
        "pairs": lambda: batches.dataset(directory),
        "labelled": lambda: LabelledECGDataset(manifest, LabelledOptions(lead_mask_probability=0.5)),
    }[kind]()
    plain, stored = data.collater([4, 5, 9]), data.collater([4, 5, 9], digital=True)
    digital = RecordStore(directory).read_digital(manifest.shard[[4, 5, 9]], manifest.row[[4, 5, 9]])
    assert stored["net_input"]["ecg"].dtype == torch.int16
    np.testing.assert_array_equal(stored["net_input"]["ecg"].numpy(), digital)
    assert stored["mv_per_unit"] == 0.001 and "mv_per_unit" not in plain

    made = batch_in_mv(stored)
    assert made.keys() == plain.keys() and made["net_input"].keys() == plain["net_input"].keys()
    for mine, expected in ((made, plain), (made["net_input"], plain["net_input"])):
        for name, value in expected.items():
            if torch.is_tensor(value):
                assert mine[name].dtype == value.dtype and torch.equal(mine[name], value), name
            elif name != "net_input":
                assert mine[name] == value, name
    # fairseq-signals has made floating-point numbers of the digital units when the task gets them; they are still units.
    converted = {**stored, "net_input": {**stored["net_input"], "ecg": stored["net_input"]["ecg"].float()}}
    assert torch.equal(batch_in_mv(converted)["net_input"]["ecg"], plain["net_input"]["ecg"])
    # The hosts keep a batch to repeat it.
    assert stored["net_input"]["ecg"].dtype == torch.int16 and batch_in_mv(plain) is plain
    assert data.collater([], digital=True) == {}
