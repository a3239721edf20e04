"""Features of a frozen encoder."""

import numpy as np
import pytest
import torch
from tiny import tiny_model, write_manifest

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.features import extract_features
from cmelt_plugin.modules.pooling.tokens import pool_ecg_states


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return tiny_model().train()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = write_manifest(tmp_path_factory.mktemp("m"), n_records=7, splits=("train", "test"), reports=False, short_row=2)
    return Manifest.open(folder, "train")


def one_by_one(model, manifest, pool, leads=LEADS):
    """Each record alone, cut to its real samples' padding mask, with the leads zeroed by hand."""
    ecg = RecordStore(manifest.store_root).read(manifest.shard, manifest.row)
    for index, lead in enumerate(LEADS):
        if lead not in leads:
            ecg[:, index] = 0
    encoder = model.ecg_encoder.eval()
    out = []
    with torch.no_grad():
        for row in range(len(manifest)):
            encoded = encoder(torch.from_numpy(ecg[row : row + 1]), torch.tensor([int(manifest.n_samples[row])]))
            out.append(pool_ecg_states(encoded.states, encoded.padding_mask, pool)[0].numpy())
    return np.stack(out)


@pytest.mark.parametrize("pool", ["cls", "mean"])
@pytest.mark.parametrize("leads", [None, ["II", "i", "V2"]])
def test_features_are_the_pooled_states_of_each_record(model, manifest, pool, leads):
    expected = one_by_one(model, manifest, pool, LEADS if leads is None else ("I", "II", "V2"))
    found = extract_features(model, manifest, pool, leads, batch_size=3, progress=False)
    assert found.dtype == np.float32 and found.shape == (7, 32)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_batches_and_workers_change_nothing(model, manifest):
    expected = extract_features(model, manifest, batch_size=7, progress=False)
    for batch_size, workers in ((2, 0), (3, 1)):
        found = extract_features(model, manifest, batch_size=batch_size, num_workers=workers, progress=False)
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_padding_does_not_reach_the_features(model, tmp_path):
    folder = write_manifest(tmp_path, n_records=3, splits=("train",), reports=False, short_row=1)
    manifest = Manifest.open(folder, "train")
    before = extract_features(model, manifest, "mean", progress=False)
    shard = folder / "records-00000.npy"
    records = np.load(shard)
    records[1, :, 3500:] = 12345
    np.save(shard, records)
    np.testing.assert_array_equal(extract_features(model, manifest, "mean", progress=False), before)


def test_a_frozen_encoder_runs_in_eval_mode_and_is_left_as_it_was(model, manifest):
    """A frozen encoder in training mode has dropout (or adapts batch statistics to the downstream set)."""
    model.train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    first = extract_features(model, manifest, progress=False)
    assert model.ecg_encoder.training
    assert (first == extract_features(model, manifest, progress=False)).all()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_unknown_leads_pools_and_broken_weights_are_refused(model, manifest):
    with pytest.raises(DataError, match="unknown lead X"):
        extract_features(model, manifest, leads=["X"])
    with pytest.raises(DataError, match="pool must be one of"):
        extract_features(model, manifest, pool="max")
    broken = tiny_model()
    with torch.no_grad():
        broken.ecg_encoder.class_embedding.fill_(float("nan"))
    with pytest.raises(DataError, match="train.tsv, line 2: .* NaN or infinity"):
        extract_features(broken, manifest, progress=False)
