"""Folders with code of their own: opened by transformers alone, they give what the model gives."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pretrained_files import random_ecg, write_classifier, write_tokenizer_folder
from safetensors import safe_open

from cmelt_plugin import export, registry
from cmelt_plugin.automodel.folder import licence_text, write_automodel
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.inference.pretrained import load_pretrained
from cmelt_plugin.modules.uncertainty import PCMEPP, PROLIP
from cmelt_plugin.prompts import load_prompts
from tests.systems.cases import CASES, write_checkpoint

CLASSES = {"SR": ["sinus rhythm"], "AFIB": ["atrial fibrillation", "af"]}
RATE = 250
ECGS = np.stack([random_ecg(seconds, RATE, seed) for seed, seconds in ((0, 10), (1, 10))])
NEEDED = {"torch", "transformers", "numpy", "scipy"}
OWN = {"cmelt_plugin", "preprocess", "hydra_plugins", "fairseq", "fairseq_signals"}


GAUSSIANS = list(itertools.product(("cmelt", "merl-resnet18", "merl-vit", "melp", "melp-resnet18"), (PCMEPP, PROLIP)))
"""Cases of systems whose embeddings are points unless ``model.uncertainty`` makes them Gaussians."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A model of every system, those that learn variances beside points, one with centred leads, and a classifier."""
    folder = tmp_path_factory.mktemp("models")
    write_tokenizer_folder(folder / "tokenizer")
    for name, case in {case.system: case for case in reversed(list(CASES.values()))}.items():
        write_checkpoint(folder / f"{name}.pt", case, folder / "tokenizer")
    for name, uncertainty in GAUSSIANS:
        write_checkpoint(folder / f"{name}-{uncertainty}.pt", CASES[name], folder / "tokenizer", uncertainty=uncertainty)
    write_checkpoint(folder / "merl-centred.pt", CASES["merl-resnet18"], folder / "tokenizer", normalisation="centred")
    write_classifier(folder / "classifier.pt", ["a", "b", "c"], {"problem": "multi_class"})
    return {path.stem: load_pretrained(path) for path in sorted(folder.glob("*.pt"))}


@pytest.fixture(scope="module")
def folders(models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("folders")
    for name, model in models.items():
        write_automodel(root / name, model, None if model.is_classifier else CLASSES, licence="cc-by-4.0")
    return {name: root / name for name in models}


def opened(folders: list[Path], tmp_path: Path) -> dict[str, Any]:
    """What transformers gives where neither this package nor a host is installed."""
    np.save(tmp_path / "ecgs.npy", ECGS)
    script = Path(__file__).with_name("open_folders.py")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CMELT", "COV"))}
    done = subprocess.run(
        [sys.executable, "-I", str(script), str(tmp_path / "ecgs.npy"), str(RATE), *map(str, folders)],
        cwd=tmp_path,
        env={**kept, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_they_open_without_this_package_and_give_what_the_model_gives(models, folders, tmp_path) -> None:
    found = opened(list(folders.values()), tmp_path)
    assert found["refused"].startswith("DataError: recording 0: units: ")
    for name, model in models.items():
        got = found[str(folders[name])]
        np.testing.assert_allclose(got["embedding"], model.encode_ecg(ECGS, RATE), atol=1e-5, err_msg=name)
        np.testing.assert_allclose(got["features"], model.ecg_features(ECGS, RATE), atol=1e-5, err_msg=name)
        names, scores = model.classify(ECGS, RATE) if model.is_classifier else model.zero_shot(ECGS, CLASSES, RATE)
        probability = None if model.is_classifier else model.pair_probability(scores)
        np.testing.assert_allclose(got["scores"], scores if probability is None else probability, atol=1e-5, err_msg=name)
        best = [one["score"] for one in got["classified"]]
        assert {one["label"] for one in got["classified"]} == set(names) and best == sorted(best, reverse=True)
        log_variance = model.embed_ecg(ECGS, RATE).log_variance
        assert ("log_variance" in got) == (log_variance is not None), name
        if log_variance is not None:
            np.testing.assert_allclose(got["log_variance"], log_variance, atol=1e-5, err_msg=name)
            assert (log_variance[0] - log_variance[1]).abs().max() > 1e-4, name  # of the recordings, not of the weights alone
    gaussian = {name for name, folder in folders.items() if "log_variance" in found[str(folder)]}
    assert gaussian == {"echoing_ecg", *(f"{name}-{uncertainty}" for name, uncertainty in GAUSSIANS)}


def test_nothing_in_them_needs_this_package(folders) -> None:
    for folder in folders.values():
        for file in folder.glob("*.py"):
            source = file.read_text(encoding="utf-8")
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.ImportFrom) and node.level:
                    assert (folder / f"{node.module}.py").is_file(), file
                elif isinstance(node, (ast.Import, ast.ImportFrom)):
                    module = node.names[0].name if isinstance(node, ast.Import) else str(node.module)
                    top = module.split(".")[0]
                    outside = top in getattr(sys, "stdlib_module_names", {top} - OWN)  # Python 3.9 has no list of its own
                    assert top in NEEDED or outside, file
        with safe_open(folder / "model.safetensors", "pt") as handle:
            assert not any(".text_" in name or "lm_head" in name for name in handle.keys())
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))["settings"]
        assert not [value for value in settings.values() if isinstance(value, str) and "/" in value]


def test_licence_and_card_are_in_them(folders) -> None:
    for folder in folders.values():
        assert (folder / "LICENSE").read_text(encoding="utf-8") == licence_text()
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert 'license: "cc-by-4.0"' in card and "Weights: cc-by-4.0" in card and "trust_remote_code=True" in card
    assert "filters and normalisation (centred) are" in (folders["merl-centred"] / "README.md").read_text(encoding="utf-8")


def test_the_command_writes_and_guards_folders(models, tmp_path, capsys) -> None:
    source = ["--checkpoint", models["merl"].source, "--format", "hf", "--dest", str(tmp_path / "hf")]
    assert export.main([*source, "--prompts", "ptb-xl-super"]) == 0
    assert "MB" in capsys.readouterr().out
    values = json.loads((tmp_path / "hf" / "config.json").read_text(encoding="utf-8"))
    assert values["classes"] == list(load_prompts("ptb-xl-super")) and values["scores"] == "similarity"
    with pytest.raises(DataError, match="--overwrite replaces it"):
        export.main(source)
    assert export.main([*source, "--overwrite"]) == 0
    assert "classes" not in json.loads((tmp_path / "hf" / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    with pytest.raises(DataError, match="choose another --dest"):
        export.main([*source[:-1], str(tmp_path / "other")])
    with pytest.raises(DataError, match="--int8 for onnx"):
        export.main([*source, "--int8"])


def test_a_system_whose_ecg_side_does_not_stand_alone_is_refused(models, tmp_path, monkeypatch) -> None:
    system = registry.systems()["merl"]
    monkeypatch.setitem(registry._models, "merl", dataclasses.replace(system, ecg_side=None))
    with pytest.raises(DataError, match="ECG side of merl does not stand alone; try --format onnx"):
        write_automodel(tmp_path / "hf", models["merl"])
    monkeypatch.setattr(models["merl"], "variances", "later")
    with pytest.raises(DataError, match="the variances of later stay there; open the model without them"):
        write_automodel(tmp_path / "hf", models["merl"])
    assert not (tmp_path / "hf").exists()
