"""Passes over a split that read ahead give, bit for bit, what reading and computing in turn gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_model, write_manifest
from torch import nn

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.features import extract_features
from cmelt_plugin.evaluation.embedding.passes import fetch_columns
from cmelt_plugin.evaluation.embedding.records import embed_records
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.modules.pooling.tokens import pool_ecg_states


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return tiny_model().eval()


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


@torch.no_grad()
def test_embeddings_and_features_are_those_of_computing_in_turn_bit_for_bit(model, manifest) -> None:
    embeddings = torch.cat([model.embed_ecg(ecg, n_samples).mean.float() for ecg, n_samples in in_turn(manifest, 4)])
    np.testing.assert_array_equal(embed_records(model, manifest, 4).mean.numpy(), embeddings.numpy())
    encoded = [model.ecg_encoder(ecg, n_samples) for ecg, n_samples in in_turn(manifest, 4)]
    pooled = torch.cat([pool_ecg_states(batch.states, batch.padding_mask, "mean") for batch in encoded])
    np.testing.assert_array_equal(extract_features(model, manifest, "mean", batch_size=4, progress=False), pooled.numpy())


PASSES = {
    "embeddings": lambda model, manifest: embed_records(model, manifest, 4).mean,
    "features": lambda model, manifest: extract_features(model, manifest, batch_size=4, progress=False),
}


@pytest.mark.parametrize("name", PASSES)
def test_the_encoder_sees_every_record_once(model, manifest, name: str) -> None:
    seen = []
    handle = model.ecg_encoder.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].clone()))
    try:
        assert len(PASSES[name](model, manifest)) == 11
    finally:
        handle.remove()
    assert torch.equal(torch.cat(seen), torch.cat([ecg for ecg, _ in in_turn(manifest, 4)]))


def test_outputs_are_fetched_in_order_and_counted() -> None:
    outputs = [{"a": torch.full((rows, 2), float(rows), dtype=torch.float64), "b": -torch.ones(rows, 1)} for rows in (3, 1, 2)]
    rows = []
    columns = fetch_columns(iter(outputs), rows.append)
    assert columns["a"].dtype == np.float32 and rows == [3, 1, 2] and list(columns) == ["a", "b"]
    np.testing.assert_array_equal(columns["a"], torch.cat([output["a"] for output in outputs]).numpy())
    assert columns["b"].shape == (6, 1)


def test_unreadable_records_end_both_passes_with_the_name_of_the_shard(model, tmp_path) -> None:
    folder = write_manifest(tmp_path, n_records=5, splits=("test",), reports=False)
    manifest = Manifest.open(folder, "test")
    shard = next(folder.glob("records-*.npy"))
    shard.write_bytes(shard.read_bytes()[:-7])
    with pytest.raises(DataError, match=shard.name):
        embed_records(model, manifest, 2)
    with pytest.raises(DataError, match=shard.name):
        extract_features(model, manifest, batch_size=2, progress=False)


class Broken(nn.Module):
    """Gives NaN for padded batches."""

    def embed_ecg(self, ecg: torch.Tensor, n_samples: torch.Tensor | None) -> Embedding:
        result = torch.ones(len(ecg), 2)
        return Embedding(torch.zeros(len(ecg), 2), result if n_samples is None else result * float("nan"))


def test_not_finite_embeddings_name_the_record(manifest) -> None:
    first = manifest.meta(["record_id"])["record_id"][3].as_py()
    with pytest.raises(DataError, match=f"test.tsv, line 5: .* 3 of 11 records, first {first}"):
        embed_records(Broken(), manifest, 3)


def test_an_unknown_device_is_named(manifest) -> None:
    with pytest.raises(DataError, match="device nonsense"):
        embed_records(Broken(), manifest, 3, "nonsense")
