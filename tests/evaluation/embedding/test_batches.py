"""Batches that are read ahead are, bit for bit, those read in turn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import write_manifest

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.millivolts import to_mv
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.evaluation.embedding.batches import RecordBatches, record_batches


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Eleven records, one of them short."""
    folder = write_manifest(tmp_path_factory.mktemp("m"), n_records=11, splits=("test",), reports=False, short_row=4)
    return Manifest.open(folder, "test")


def in_turn(manifest: Manifest, batch_size: int):
    """Batches read one after the other."""
    store = RecordStore(manifest.store_root)
    for start in range(0, len(manifest), batch_size):
        part = slice(start, start + batch_size)
        ecg = torch.from_numpy(store.read(manifest.shard[part], manifest.row[part]))
        n_samples = torch.from_numpy(np.asarray(manifest.n_samples[part], dtype=np.int64))
        yield ecg, n_samples if int(n_samples.min()) < 5000 else None


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_those_read_in_turn(manifest, workers: int) -> None:
    batches = list(record_batches(manifest, 3, workers=workers))
    expected = list(in_turn(manifest, 3))
    assert [len(ecg) for ecg, _ in batches] == [3, 3, 3, 2]
    for (ecg, n_samples), (plain, real) in zip(batches, expected):
        assert ecg.dtype == torch.float32 and torch.equal(ecg, plain)
        assert (n_samples is None) == (real is None)
        assert real is None or torch.equal(n_samples, real)
    assert [n_samples is None for _, n_samples in batches] == [True, False, True, True]


def test_steps_scaled_by_torch_are_the_millivolts_of_the_store_bit_for_bit(manifest) -> None:
    digital, _ = RecordBatches(manifest, 11, digital=True)[0]
    plain, _ = RecordBatches(manifest, 11)[0]
    assert digital.dtype == torch.int16 and to_mv(plain, 0.5) is plain
    assert torch.equal(to_mv(digital, RecordStore(manifest.store_root).mv_per_unit), plain)
    every = torch.arange(-32768, 32768).to(torch.int16)
    expected = every.numpy().astype(np.float32) * np.float32(0.001)
    np.testing.assert_array_equal(to_mv(every, 0.001).numpy(), expected)
