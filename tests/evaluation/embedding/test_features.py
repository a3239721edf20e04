"""Features of a frozen encoder, and the file that keeps them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import tiny_model, write_manifest

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding import features
from cmelt_plugin.evaluation.embedding.features import cached_features, encoder_fingerprint, extract_features, feature_info
from cmelt_plugin.modules.pooling import pool_ecg_states


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


def test_the_cache_is_used_and_keyed_by_all_that_matters(model, manifest, tmp_path, monkeypatch):
    first = cached_features(tmp_path, model, manifest, progress=False)
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("features.") and path.suffix == ".npz"
    monkeypatch.setattr(features, "extract_features", lambda *args, **kwargs: pytest.fail("computed again"))
    assert (cached_features(tmp_path, model, manifest) == first).all()
    assert (cached_features(tmp_path, model, manifest, leads=[lead.lower() for lead in reversed(LEADS)]) == first).all()
    monkeypatch.undo()
    infos = [
        feature_info(model, manifest, "cls", None),
        feature_info(model, manifest, "mean", None),
        feature_info(model, manifest, "cls", ["I"]),
        feature_info(model, Manifest.open(manifest.directory, "test"), "cls", None),
        feature_info(tiny_model(), manifest, "cls", None),
    ]
    # Two splits of the same rows are the same records.
    assert infos[0] == infos[3]
    assert all(infos[0] != other for other in (infos[1], infos[2], infos[4]))
    cached_features(tmp_path, model, manifest, "mean", progress=False)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_bfloat16_features_are_float32_near_the_exact_ones_and_kept_apart(model, manifest, tmp_path, pool):
    """A rounding to bfloat16 is off by 2⁻⁸; features, layer-normed, differed by that on average."""
    exact = cached_features(tmp_path, model, manifest, pool, progress=False)
    (old,) = tmp_path.iterdir()
    assert "precision" not in feature_info(model, manifest, pool, None)  # files of earlier versions are still found
    found = cached_features(tmp_path, model, manifest, pool, bf16=True, progress=False)
    assert found.dtype == np.float32 and len(list(tmp_path.iterdir())) == 2
    difference = np.linalg.norm(found - exact) / np.linalg.norm(exact)
    assert 2.0**-12 < difference < 2.0**-6
    assert (cached_features(tmp_path, model, manifest, pool, bf16=True, progress=False) == found).all()
    assert (cached_features(tmp_path, model, manifest, pool, progress=False) == exact).all()
    with torch.autocast("cpu", torch.bfloat16):  # what surrounds the call does not decide
        assert (extract_features(model, manifest, pool, progress=False) == exact).all()


def test_changed_recordings_are_not_met_by_old_features(model, tmp_path):
    infos = []
    for seed in (0, 1):
        folder = write_manifest(tmp_path / str(seed), n_records=3, splits=("train",), reports=False, seed=seed)
        infos.append(feature_info(model, Manifest.open(folder, "train"), "cls", None))
    assert infos[0]["records"] == infos[1]["records"] and infos[0] != infos[1]


def test_the_fingerprint_sees_weights_and_settings_that_are_none(model):
    before = encoder_fingerprint(model.ecg_encoder)
    assert before == encoder_fingerprint(model.ecg_encoder.eval())
    heads = tiny_model(encoder_attention_heads=2)
    heads.load_state_dict(model.state_dict())
    assert encoder_fingerprint(heads.ecg_encoder) != before
    with torch.no_grad():
        next(heads.ecg_encoder.parameters()).add_(1e-3)
    assert len({before, encoder_fingerprint(heads.ecg_encoder)}) == 2


def test_damaged_and_foreign_files_are_refused(model, manifest, tmp_path):
    cached_features(tmp_path, model, manifest, progress=False)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(DataError, match="unreadable"):
        cached_features(tmp_path, model, manifest)
    path.write_bytes(whole)
    with np.load(path) as arrays:
        stored = dict(arrays)
    stored["features"] = stored["features"][:-1]
    np.savez(path, **stored)
    with pytest.raises(DataError, match="another encoder or other records"):
        cached_features(tmp_path, model, manifest)


def test_unknown_leads_pools_and_broken_weights_are_refused(model, manifest):
    with pytest.raises(DataError, match="unknown lead X"):
        extract_features(model, manifest, leads=["X"])
    with pytest.raises(DataError, match="pool must be one of"):
        extract_features(model, manifest, pool="max")
    broken = tiny_model()
    with torch.no_grad():
        broken.ecg_encoder.class_embedding.fill_(float("nan"))
    with pytest.raises(DataError, match="train.tsv, line 2: .* not finite"):
        extract_features(SimpleNamespace(ecg_encoder=broken.ecg_encoder), manifest, progress=False)
