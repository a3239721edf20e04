"""What the host builds of a model is the model itself, with the same fields, names and numbers."""

from __future__ import annotations

import dataclasses
import pickle
from types import SimpleNamespace

import pytest
import torch
from hosts import HOSTS
from hosts import facts as host_facts
from omegaconf import OmegaConf
from tiny import TINY_MODEL, tiny_t5_config
from torch import nn

from cmelt_plugin import host, registry
from cmelt_plugin.host.registration import hosted_config, hosted_model
from cmelt_plugin.models.encoders.frozen import FrozenEncoder
from cmelt_plugin.modules.ecg.feature_extractor import ConvStack

TRAINED = sorted(name for name, model in registry.models().items() if not issubclass(model.model_class(), FrozenEncoder))
CONV = [(8, 10, 5), (12, 4, 4), (16, 2, 2)]


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    registry.register()


@pytest.mark.parametrize("name", TRAINED)
def test_the_host_knows_every_model_by_its_own_fields(name: str) -> None:
    model = registry.models()[name]
    derived = host.model_class(SimpleNamespace(_name=name))
    config = host.model_config_class(derived)
    assert issubclass(derived, model.model_class()) and issubclass(derived, host.Model)
    assert issubclass(config, host.Dataclass)
    own, theirs = dataclasses.fields(model.config_class()), dataclasses.fields(config)
    assert theirs[0].name == "_name"
    described = [(field.name, field.type, field.default, dict(field.metadata)) for field in own]
    assert [(field.name, field.type, field.default, dict(field.metadata)) for field in theirs[1:]] == described
    assert all(field.metadata["help"] for field in own)
    assert not issubclass(model.model_class(), host.Model) and not issubclass(model.config_class(), host.Dataclass)


@pytest.mark.parametrize("name", TRAINED)
def test_classes_survive_the_way_to_a_spawned_process(name: str) -> None:
    derived = host.model_class(SimpleNamespace(_name=name))
    config = OmegaConf.structured(host.model_config_class(derived)())
    assert pickle.loads(pickle.dumps(derived)) is derived
    assert pickle.loads(pickle.dumps(config)) == config


def test_both_compute_the_same() -> None:
    values = {**TINY_MODEL, "text_encoder_config": tiny_t5_config()}
    cmelt = registry.models()["cmelt"]
    plain = cmelt.model_class().build_model(cmelt.config_class()(**values)).eval()
    derived = host.model_class(SimpleNamespace(_name="cmelt"))
    hosted = derived.build_model(OmegaConf.structured(host.model_config_class(derived)(**values)), None).eval()
    assert not isinstance(hosted.ecg_encoder.feature_extractor.conv_layers, ConvStack)
    hosted.load_state_dict(plain.state_dict(), strict=True)
    ecg = torch.randn(2, 12, 5000)
    assert torch.equal(hosted.embed_ecg(ecg).mean, plain.embed_ecg(ecg).mean)
    assert hosted.max_positions() is None


def test_updates_are_told_to_the_model_and_to_its_parts() -> None:
    class Counting(nn.Module):
        def set_num_updates(self, num_updates: int) -> None:
            self.num_updates = num_updates

    class Whole(Counting):
        def __init__(self) -> None:
            super().__init__()
            self.part = Counting()

    model = hosted_model(Whole)()
    model.set_num_updates(7)
    assert (model.num_updates, model.part.num_updates) == (7, 7)
    hosted_model(nn.Identity)().set_num_updates(7)  # one that does not ask


def test_a_name_is_given_once() -> None:
    @dataclasses.dataclass
    class CMELTConfig:
        size: int = dataclasses.field(default=1, metadata={"help": "a size"})

    assert [field.name for field in dataclasses.fields(hosted_config(CMELTConfig))] == ["_name", "size"]
    with pytest.raises(ValueError, match="other: the host has a class CMELTConfig already"):
        host.add_model("other", nn.Module, CMELTConfig)


EXTRACTORS = f"""
import json, torch
from cmelt_plugin import host
from cmelt_plugin.modules.ecg.feature_extractor import ConvStack, FeatureExtractor

facts = {{}}
for conv in ({CONV}, [(16, 2, 2)] * 4):
    torch.manual_seed(1)
    theirs, next_theirs = host.ecg_feature_extractor(conv, 12), torch.rand(())
    torch.manual_seed(1)
    ours, next_ours = ConvStack(conv, 12), torch.rand(())
    same = all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters())) and bool(next_ours == next_theirs)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    ecg = torch.randn(3, 12, 1000)
    facts[str(conv)] = {{
        "names": list(ours.state_dict()) == list(theirs.state_dict()),
        "draws": same,
        "results": torch.equal(ours(ecg), theirs(ecg)),
        "told lengths": torch.equal(FeatureExtractor(ours, conv)(ecg), FeatureExtractor(theirs, conv)(ecg)),
    }}
print("FACTS" + json.dumps(facts))
"""


@pytest.mark.parametrize("name", HOSTS)
def test_the_convolutions_without_a_host_are_those_of_the_hosts(name: str) -> None:
    """From a seed they begin with fairseq's weights; fairseq-signals draws the first convolution in another order."""
    facts = host_facts(name, EXTRACTORS)
    assert len(facts) == 2
    for fact in facts.values():
        assert fact == {"names": True, "draws": name == "fairseq", "results": True, "told lengths": True}
