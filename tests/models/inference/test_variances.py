"""Variances beside frozen means: the means stay bit by bit, and what is stored belongs to one model."""

import json

import pytest
import torch
from tiny import tiny_model

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference.variances import (
    GaussianModel,
    VarianceHeads,
    add_variances,
    variances_folder,
    write_variances,
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return tiny_model().eval()


def heads_of(model, seed=1):
    torch.manual_seed(seed)
    width = model.ecg_features(torch.zeros(1, 12, 5000)).shape[1]
    heads = VarianceHeads(width, model.embed_ecg(torch.zeros(1, 12, 5000)).mean.shape[1], 8)
    for head in (heads.ecg, heads.text):
        torch.nn.init.normal_(head.outer.weight, std=0.5)
    return heads.eval()


@torch.no_grad()
def test_means_and_similarities_are_those_of_the_model_alone(model) -> None:
    torch.manual_seed(2)
    ecg, ids = torch.randn(3, 12, 5000), torch.randint(3, 50, (4, 6))
    gaussian = GaussianModel(model, heads_of(model))
    found, text = gaussian.embed_ecg(ecg), gaussian.embed_text(ids)
    assert torch.equal(found.mean, model.embed_ecg(ecg).mean) and torch.equal(text.mean, model.embed_text(ids).mean)
    assert found.log_variance.shape == found.mean.shape and found.uncertainty().std() > 0
    group = torch.tensor([0, 1, 1, 0])
    classes, plain = gaussian.ensemble(text, group, 2), model.ensemble(model.embed_text(ids), group, 2)
    assert torch.equal(classes.mean, plain.mean)
    assert torch.allclose(classes.log_variance[0].exp(), text.log_variance[[0, 3]].exp().mean(dim=0))
    assert torch.equal(gaussian.similarity(found, classes), model.similarity(Embedding(found.mean), plain))
    assert torch.equal(gaussian.ecg_features(ecg), model.ecg_features(ecg)) and gaussian.vocab_size == model.vocab_size
    with pytest.raises(AttributeError):
        _ = gaussian.nothing_of_the_kind


def test_at_the_start_all_variances_are_one_total() -> None:
    heads = VarianceHeads(6, 5, 4, total=2.0)
    sums = heads.ecg(torch.randn(7, 6)).exp().sum(dim=1)
    assert torch.allclose(sums, torch.full((7,), 2.0))


@torch.no_grad()
def test_what_is_written_is_read_and_only_for_its_model(model, tmp_path) -> None:
    heads, ecg = heads_of(model), torch.randn(2, 12, 5000)
    folder = write_variances(variances_folder(tmp_path / "c.pt"), heads, model, {"loss": "prolip"})
    assert folder == tmp_path / "c.variances"
    opened = add_variances(model, folder)
    assert torch.equal(opened.embed_ecg(ecg).log_variance, GaussianModel(model, heads).embed_ecg(ecg).log_variance)
    torch.manual_seed(5)
    with pytest.raises(DataError, match="trained for other weights"):
        add_variances(tiny_model().eval(), folder)
    with pytest.raises(DataError, match="reads no texts"):
        add_variances(torch.nn.Linear(2, 2), folder)
    values = json.loads((folder / "variances.json").read_text())
    (folder / "variances.json").write_text(json.dumps({**values, "format": 9}))
    with pytest.raises(DataError, match="format 1"):
        add_variances(model, folder)
    (folder / "variances.json").write_text(json.dumps(values))
    with open(folder / "variances.safetensors", "ab") as handle:
        handle.write(b"x")
    with pytest.raises(DataError, match="changed since"):
        add_variances(model, folder)
