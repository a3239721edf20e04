"""What model cards say of systems and of classifiers on their encoders."""

from __future__ import annotations

import dataclasses

import pytest

from cmelt_plugin import registry
from cmelt_plugin.models.files.card import CardFacts, render_card


def card(of: str, **changes) -> str:
    facts = CardFacts("mine", "mit", registry.systems()[of].system_card(), True, {"all": 2_000_000}, {"a": 1}, ["I"])
    return render_card(dataclasses.replace(facts, **changes))


@pytest.mark.parametrize("name", sorted(registry.systems()))
def test_every_system_is_described_by_its_own_folder(name: str) -> None:
    system = registry.systems()[name]
    described = system.system_card()
    known = {field.name for field in dataclasses.fields(system.config_class())}
    assert set(described.settings) <= known
    text = card(name)
    assert f"{described.name}: {described.what} (2.0 million parameters)." in text and described.paper in text
    assert described.release in card(name, released=True) and described.release_note in card(name, released=True)
    others = [other.system_card().name for other in registry.systems().values() if other is not system]
    assert not [other for other in others if other in text]


def test_a_classifier_names_the_system_of_its_encoder() -> None:
    text = card("merl", whole=False, classes=["AFIB", "SR"])
    assert "classifier of 2 classes: the ECG encoder of MERL and one linear layer" in text and '"merl", "fine-tuned"' in text
    assert "The ECG encoder of C-MELT, fine-tuned" in card("cmelt", whole=False)


def test_a_system_that_says_nothing_is_named() -> None:
    bare = registry.System("mine", model="a:A", config="a:C").system_card()
    assert bare.name == "mine" and "mine: a pre-trained model of ECGs" in card("cmelt", system=bare)
