"""MERL's ECG encoder alone: what classifiers are put on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny_merl import ENCODERS, tiny_merl

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.classifier.config import ClassifierConfig
from cmelt_plugin.models.classifier.model import Classifier
from cmelt_plugin.models.files.checkpoint import load_model
from cmelt_plugin.models.files.encoder_source import read_encoder
from cmelt_plugin.modules.ecg.normalisation import NORMALISATIONS
from cmelt_plugin.optim.depths import depth_of


def saved(model: torch.nn.Module, name: str, path: Path) -> Path:
    torch.save({"model": model.state_dict(), "cfg": {"model": {**dataclasses.asdict(model.cfg), "_name": name}}}, path)
    return path


@pytest.mark.parametrize("kind", sorted(ENCODERS))
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_a_classifier_reads_the_features_of_the_pretrained_model(kind: str, normalisation: str, tmp_path) -> None:
    read_encoder.cache_clear()
    torch.manual_seed(0)
    model = tiny_merl(kind, normalisation=normalisation).eval()
    path = saved(model, "merl", tmp_path / "merl.pt")
    cfg = ClassifierConfig(pretrained=str(path), num_classes=2, class_names=["a", "b"])
    classifier = Classifier.build_model(cfg).eval()
    ecg, n_samples = torch.randn(3, 12, 5000), torch.tensor([5000, 3000, 5000])
    features = model.ecg_features(ecg, n_samples)
    torch.testing.assert_close(classifier(ecg, n_samples)["features"], features)
    torch.testing.assert_close(classifier.ecg_features(ecg, n_samples), features)
    assert (cfg.encoder, cfg.pool, classifier.signal) == ("merl", "mean", model.signal)
    assert classifier.signal.normalisation == model.signal.normalisation == normalisation
    # A checkpoint of the classifier stands alone, and can be trained further.
    cfg.pretrained = str(tmp_path / "gone.pt")
    again = saved(classifier, "cmelt_classifier", tmp_path / "classifier.pt")
    torch.testing.assert_close(load_model(again).model(ecg)["logits"], classifier(ecg)["logits"])
    further = ClassifierConfig(pretrained=str(again), num_classes=5, class_names=list("vwxyz"))
    torch.testing.assert_close(Classifier.build_model(further).eval()(ecg, n_samples)["features"], features)
    with pytest.raises(DataError, match="model.encoder=cmelt, but .* holds that of merl"):
        Classifier.build_model(ClassifierConfig(pretrained=str(path), encoder="cmelt", num_classes=1, class_names=["a"]))


def test_every_parameter_of_the_encoder_is_used_and_has_a_depth() -> None:
    cfg = ClassifierConfig(encoder="merl", ecg_width=4, num_classes=2, class_names=["a", "b"])
    classifier = Classifier.build_model(cfg).train()
    classifier(torch.randn(2, 12, 5000))["logits"].square().sum().backward()
    assert not [name for name, parameter in classifier.named_parameters() if parameter.grad is None]
    depths = {name: depth_of(parameter) for name, parameter in classifier.named_parameters()}
    n_layers = len(classifier.layers())
    assert depths["head.weight"] == 0 and set(depths.values()) == set(range(n_layers + 2))
