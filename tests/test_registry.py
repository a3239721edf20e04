"""Systems are declared by their folders; what a declaration names exists."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
from hosts import REPOSITORY
from torch import nn

from cmelt_plugin import registry
from cmelt_plugin.data.batches.inputs import Inputs


def test_every_folder_of_models_declares_a_model() -> None:
    folders = {path.parent.name for path in (REPOSITORY / "cmelt_plugin" / "models").glob("*/__init__.py")}
    declaring = {model.model.split(".")[2] for model in registry.models().values()}
    assert declaring == folders - {"common", "files", "inference"}  # what all models share
    assert set(registry.systems()) <= set(registry.models())


@pytest.mark.parametrize("name", sorted(registry.models()))
def test_what_a_declaration_names_exists(name: str) -> None:
    model = registry.models()[name]
    assert model.name == name
    assert issubclass(model.model_class(), nn.Module) and callable(model.model_class().build_model)
    assert dataclasses.is_dataclass(model.config_class())
    assert model.exporter is None or callable(registry.imported(model.exporter))


@pytest.mark.parametrize("name", sorted(registry.systems()))
def test_a_system_says_what_trains_it_and_what_it_reads(name: str) -> None:
    system = registry.systems()[name]
    assert system.criterions
    assert all(isinstance(registry.imported(path), type) for path in system.criterions.values())
    assert system.reads_text == hasattr(system.model_class(), "embed_text")
    assert issubclass(system.inputs_class(), Inputs)
    assert system.released is None or registry.importlib.import_module(system.released)


def test_declarations_need_neither_torch_nor_a_host() -> None:
    script = (
        "import sys\nfrom cmelt_plugin import registry\nassert 'cmelt' in registry.systems()\n"
        "print('torch' in sys.modules, 'cmelt_plugin.host' in sys.modules, 'cmelt_plugin.models.cmelt.model' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == ["False"] * 3, done.stderr


def test_a_name_belongs_to_one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_models", dict(registry.models()))
    registry.register_system("alone", model="a:A", config="a:C", reads_text=False)
    registry.register_system("alone", model="a:A", config="a:C", reads_text=False)
    with pytest.raises(ValueError, match="two models are called 'alone'"):
        registry.register_model("alone", model="a:B", config="a:C")
    alone = registry.systems()["alone"]
    assert not alone.reads_text and alone.criterions == {} and alone.inputs_class() is Inputs
