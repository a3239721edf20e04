"""Batches of a data-loader worker are read straight into memory that the main process sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny import write_manifest
from torch.utils.data import DataLoader

from cmelt_plugin.data.batches.ecg import ECGDataset
from cmelt_plugin.data.batches.worker_memory import empty_batch
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.evaluation.embedding.batches import RecordBatches


class Watched:
    """A collate function that also says where the worker put its ECGs."""

    def __init__(self, data: ECGDataset, digital: bool) -> None:
        self.data, self.digital = data, digital

    def __call__(self, samples: list[int]) -> dict[str, Any]:
        batch = self.data.collater(samples, digital=self.digital)
        return {**batch, "shared": batch["net_input"]["ecg"].is_shared()}


class WatchedBatches(RecordBatches):
    def __getitem__(self, index: int) -> Any:
        ecg, _ = super().__getitem__(index)
        return ecg, ecg.is_shared()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Manifest:
    return Manifest.open(write_manifest(tmp_path_factory.mktemp("m"), n_records=9, splits=("train",), reports=False), "train")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("digital", [False, True])
def test_a_worker_reads_into_shared_memory_and_nobody_else_does(manifest, workers: int, digital: bool) -> None:
    data = ECGDataset(manifest)
    rows = [[8, 0, 3], [1], [2, 7]]
    loader = DataLoader(data, batch_sampler=rows, collate_fn=Watched(data, digital), num_workers=workers)
    made = list(loader)  # held together: none may lie in another's place
    assert [batch["shared"] for batch in made] == [workers > 0] * 3
    for batch, numbers in zip(made, rows):
        expected = data.collater(numbers, digital=digital)["net_input"]["ecg"]
        assert batch["net_input"]["ecg"].dtype == expected.dtype and torch.equal(batch["net_input"]["ecg"], expected)


def test_evaluation_reads_into_shared_memory_too(manifest) -> None:
    plain = RecordBatches(manifest, 4)
    made = list(DataLoader(WatchedBatches(manifest, 4), batch_size=None, num_workers=1))
    assert [shared for _, shared in made] == [True] * 3
    for index, (ecg, _) in enumerate(made):
        assert torch.equal(ecg, plain[index][0])


def test_memory_is_of_the_shape_and_kind_that_was_asked_for(monkeypatch) -> None:
    monkeypatch.setattr("cmelt_plugin.data.batches.worker_memory.get_worker_info", object)
    for shape, dtype in (((3, 12, 50), torch.int16), ((0, 12, 50), torch.float32), ((2,), torch.float32)):
        tensor = empty_batch(shape, dtype)
        assert tensor.shape == shape and tensor.dtype == dtype and tensor.is_contiguous()
        tensor.numpy()[...] = np.float32(7)
        assert (tensor == 7).all() and tensor.is_shared()
