"""What is kept of passes over splits, and what is never met again."""

import numpy as np
import pytest
import torch
from tiny import tiny_model, write_manifest

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding import encoder as encoder_module
from cmelt_plugin.evaluation.embedding.encoder import SplitEncoder
from cmelt_plugin.evaluation.embedding.features import extract_features
from cmelt_plugin.models.files.weights_fingerprint import weights_fingerprint


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return tiny_model().eval()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = write_manifest(tmp_path_factory.mktemp("m"), n_records=7, splits=("train", "test"), reports=False, short_row=2)
    return Manifest.open(folder, "train")


@pytest.fixture
def passes(monkeypatch):
    """Names of the passes that are made."""
    made = []
    for name in ("embed_records", "extract_features"):
        original = getattr(encoder_module, name)
        monkeypatch.setattr(encoder_module, name, lambda *a, f=original, n=name, **k: made.append(n) or f(*a, **k))
    return made


def test_another_run_reads_what_the_first_computed(model, manifest, tmp_path, passes):
    first = SplitEncoder(model, tmp_path)
    features, embeddings = first.features(manifest), first.embeddings(manifest)
    assert sorted(path.name.split(".")[0] for path in tmp_path.iterdir()) == ["embeddings", "features"]
    again = SplitEncoder(model, tmp_path)
    assert (again.features(manifest, "cls", [lead.lower() for lead in reversed(LEADS)]) == features).all()
    assert torch.equal(again.embeddings(manifest).mean, embeddings.mean) and again.embeddings(manifest).log_variance is None
    # Two splits of the same rows are the same records.
    assert (again.features(Manifest.open(manifest.directory, "test")) == features).all()
    assert passes == ["extract_features", "embed_records"]


def test_without_a_folder_each_pass_is_made_once(model, manifest, passes):
    encoder = SplitEncoder(model)
    assert encoder.features(manifest) is encoder.features(manifest)
    encoder.features(manifest, "mean")
    assert torch.equal(encoder.embeddings(manifest).mean, encoder.embeddings(manifest).mean)
    assert passes == ["extract_features", "extract_features", "embed_records"]


def test_embeddings_of_some_leads_are_those_of_the_rest_at_zero_and_kept_apart(model, manifest, tmp_path, passes):
    found = SplitEncoder(model, tmp_path).embeddings(manifest, ["ii", "I"]).mean
    store = RecordStore(manifest.store_root)
    ecg = torch.from_numpy(store.read(manifest.shard, manifest.row))
    ecg[:, 2:] = 0
    with torch.no_grad():
        expected = model.embed_ecg(ecg, torch.from_numpy(manifest.n_samples.astype(np.int64))).mean
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    whole = SplitEncoder(model, tmp_path).embeddings(manifest).mean
    assert (whole - found).abs().max() > 1e-4
    assert torch.equal(SplitEncoder(model, tmp_path).embeddings(manifest, list(LEADS)).mean, whole)
    assert passes == ["embed_records"] * 2


def test_whatever_decides_the_values_is_part_of_the_key(model, manifest, tmp_path, passes):
    def features(of=model, split=manifest, bf16=False, **options):
        return SplitEncoder(of, tmp_path / "cache", bf16=bf16).features(split, **options)

    other = tiny_model()
    other_recordings = Manifest.open(write_manifest(tmp_path / "m", n_records=7, splits=("train",), seed=1), "train")
    variants = [{}, {"pool": "mean"}, {"leads": ["I"]}, {"of": other}, {"split": other_recordings}, {"bf16": True}]
    for variant in variants:
        features(**variant)
    assert len(passes) == len(list((tmp_path / "cache").iterdir())) == len(variants)


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_bfloat16_features_are_float32_near_the_exact_ones_and_kept_apart(model, manifest, tmp_path, pool):
    """A rounding to bfloat16 is off by 2⁻⁸; features, layer-normed, differed by that on average."""
    exact = SplitEncoder(model, tmp_path).features(manifest, pool)
    rounded = SplitEncoder(model, tmp_path, bf16=True).features(manifest, pool)
    assert rounded.dtype == np.float32 and len(list(tmp_path.iterdir())) == 2
    difference = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
    assert 2.0**-12 < difference < 2.0**-6
    assert (SplitEncoder(model, tmp_path, bf16=True).features(manifest, pool) == rounded).all()
    with torch.autocast("cpu", torch.bfloat16):  # what surrounds the call does not decide
        assert (extract_features(model, manifest, pool, progress=False) == exact).all()


def test_the_fingerprint_sees_weights_and_settings_that_are_none(model):
    before = weights_fingerprint(model)
    assert before == weights_fingerprint(model.train()) == weights_fingerprint(model.eval())
    heads = tiny_model(encoder_attention_heads=2)
    heads.load_state_dict(model.state_dict())
    assert weights_fingerprint(heads) != before
    same = tiny_model()
    same.load_state_dict(model.state_dict())
    assert weights_fingerprint(same) == before
    with torch.no_grad():
        next(same.parameters()).add_(1e-3)
    assert weights_fingerprint(same) != before


def test_damaged_and_foreign_files_are_refused(model, manifest, tmp_path):
    SplitEncoder(model, tmp_path).features(manifest)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(DataError, match="damaged"):
        SplitEncoder(model, tmp_path).features(manifest)
    path.write_bytes(whole)
    with np.load(path) as arrays:
        stored = dict(arrays)
    for change in ({"features": stored["features"][:-1]}, {"info": stored["info"][:-1]}):
        np.savez(path, **{**stored, **change})
        with pytest.raises(DataError, match="another model or other inputs"):
            SplitEncoder(model, tmp_path).features(manifest)
