from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from corpora import write_bert, write_language_checkpoint

from cmelt_plugin import host, load_pretrained, register, registry
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.classifier.config import ClassifierConfig
from cmelt_plugin.models.classifier.model import Classifier
from cmelt_plugin.models.files.checkpoint import load_model
from cmelt_plugin.models.files.integrity import verify_model
from cmelt_plugin.models.language.config import LanguageConfig
from cmelt_plugin.models.language.model import LanguageModel

TEXT = torch.tensor([[2, 9, 4, 11, 3], [2, 4, 3, 0, 0]])
PADDING = TEXT == 0


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("bert"))


def test_it_is_a_model_of_the_plugin_and_no_system() -> None:
    model = registry.models()["cmelt_text_mlm"]
    assert model.model_class() is LanguageModel and model.exporter is not None
    assert "cmelt_text_mlm" not in registry.systems()


def test_a_checkpoint_needs_no_folder_of_the_text_encoder(bert, tmp_path) -> None:
    made = write_language_checkpoint(tmp_path / "lm.pt", bert)
    assert verify_model(tmp_path / "lm.pt") == []
    for path in bert.iterdir():
        path.rename(tmp_path / path.name)
    try:
        loaded = load_model(tmp_path / "lm.pt")
    finally:
        for path in tmp_path.iterdir():
            if path.name != "lm.pt":
                path.rename(bert / path.name)
    positions = torch.tensor([2, 6])
    with torch.no_grad():
        expected, got = (model(TEXT, PADDING, positions)["logits"] for model in (made, loaded.model))
    assert torch.equal(expected, got) and got.shape == (2, 120)


def test_the_hosts_model_computes_the_same(bert) -> None:
    register()
    model_class = host.model_class(SimpleNamespace(_name="cmelt_text_mlm"))
    cfg = host.model_config_class(model_class)(text_encoder=str(bert), text_encoder_pretrained=True)
    torch.manual_seed(0)
    hosted = model_class.build_model(cfg).eval()
    torch.manual_seed(0)
    plain = LanguageModel.build_model(LanguageConfig(text_encoder=str(bert))).eval()
    assert hosted.state_dict().keys() == plain.state_dict().keys()
    with torch.no_grad():
        assert torch.equal(hosted(TEXT, PADDING)["logits"], plain(TEXT, PADDING)["logits"])


def test_random_weights_where_pretrained_ones_are_not_wanted(bert) -> None:
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(LanguageModel.build_model(LanguageConfig(text_encoder=str(bert), text_encoder_pretrained=False)).eval())
    with torch.no_grad():
        first, same, other = (model(TEXT, PADDING)["logits"] for model in models)
    assert torch.equal(first, same) and not torch.allclose(first, other)


def test_where_an_ecg_is_read_it_says_what_it_is(bert, tmp_path) -> None:
    write_language_checkpoint(tmp_path / "lm.pt", bert)
    with pytest.raises(DataError, match="lm.pt: a language model, which reads no ECGs"):
        load_pretrained(tmp_path / "lm.pt")
    with pytest.raises(DataError, match="holds no ECG encoder of this plugin"):
        Classifier.prepare_config(dataclasses.replace(ClassifierConfig(), pretrained=str(tmp_path / "lm.pt")))
