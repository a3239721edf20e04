"""Every mutation of a model's files is found, or changes nothing of the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pretrained_files import write_checkpoint, write_classifier, write_tokenizer_folder

from cmelt_plugin.errors import DataError
from cmelt_plugin.export import main as export
from cmelt_plugin.models.files.exported import config_checksum
from cmelt_plugin.models.files.integrity import UNCHECKED, verify_model
from cmelt_plugin.models.inference.pretrained import load_pretrained
from tests.models.release_layout import write_release


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A checkpoint of each kind and what is exported of them."""
    folder = tmp_path_factory.mktemp("models")
    write_tokenizer_folder(folder / "tokenizer")
    extra = {"optimizer_history": [{"num_updates": 3}], "last_optimizer_state": {"state": {0: torch.ones(500)}}}
    write_checkpoint(folder / "cmelt.pt", folder / "tokenizer", extra)
    write_classifier(folder / "classifier.pt", ["AFIB", "SR"], thresholds=[0.3, 0.4])
    for name in ("cmelt", "classifier"):
        export(["--checkpoint", str(folder / f"{name}.pt"), "--dest", str(folder / name)])
    return folder


def content(path: Path) -> tuple:
    """Weights, and whatever else of a model its users see."""
    model = load_pretrained(path)
    tokenizer = None if model.is_classifier else model.tokenizer.get_vocab()
    seen = (str(model.model.cfg), model.class_names, model.thresholds, model.leads, str(model.task_state), tokenizer)
    return model.model.state_dict(), (*seen, str(model.cfg.get("task")))


def same(one: tuple, other: tuple) -> bool:
    return one[1] == other[1] and list(one[0]) == list(other[0]) and all(map(torch.equal, one[0].values(), other[0].values()))


def mutated(rng: np.random.Generator, data: bytes) -> bytes:
    """A flip, another byte, a cut, bytes put in, zeros or a repetition; two thirds of them in the first or last 4 kB."""
    new = bytearray(data)
    near = min(len(data), 4096)
    place = [int(rng.integers(len(data))), int(rng.integers(near)), len(data) - 1 - int(rng.integers(near))][rng.integers(3)]
    kind = rng.integers(6)
    if kind == 0:
        new[place] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        new[place] = int(rng.integers(256))
    elif kind == 2:
        del new[place:]
    elif kind == 3:
        new[place:place] = rng.bytes(int(rng.integers(1, 9)))
    elif kind == 4:
        new[place : place + 64] = bytes(len(new[place : place + 64]))
    else:
        new[place:place] = new[place : place + int(rng.integers(1, 100))]
    return bytes(new)


def test_mutations_are_found_or_change_nothing(battery, models, tmp_path) -> None:
    folder = tmp_path / "models"
    shutil.copytree(models, folder)
    paths = ["cmelt.pt", "classifier.pt", "cmelt", "classifier"]
    expected = {path: content(folder / path) for path in paths}
    targets = [
        (path, file) for path in paths for file in sorted((folder / path).rglob("*")) or [folder / path] if file.is_file()
    ]
    for attack in battery("byte mutations of checkpoints and exported folders", inputs=160, long=5000):
        path, file = targets[attack.index % len(targets)]
        data = file.read_bytes()
        file.write_bytes(mutated(attack.random, data))
        with attack:
            attack.expect(same(content(folder / path), expected[path]), f"{file} was read as something else")
        file.write_bytes(data)


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_whole_models_have_no_findings_and_every_byte_is_read(models) -> None:
    for name in ("cmelt.pt", "classifier.pt", "cmelt", "classifier"):
        counts: list[int] = []
        assert verify_model(models / name, counts.append) == []
        path = models / name
        size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
        assert sum(counts) > 0.7 * size
        assert verify_model(models / name) == []


def test_findings_name_the_file(models, tmp_path) -> None:
    path = tmp_path / "c.pt"
    shutil.copy(models / "cmelt.pt", path)
    flip(path, path.read_bytes().index(b"\x00\x00\x80\x3f" * 100) + 40)  # of the optimiser's state, which no model has
    load_pretrained(path)
    (finding,) = verify_model(path)
    assert finding.startswith(f"{path}: damaged: the checksum of its entry 'data/")
    path.write_bytes(path.read_bytes()[:-1000])
    (finding,) = verify_model(path)
    assert str(path) in finding
    shutil.copytree(models / "cmelt", tmp_path / "exported")
    flip(tmp_path / "exported" / "tokenizer" / "spiece.model", 100)
    (finding,) = verify_model(tmp_path / "exported")
    assert "spiece.model: not the file that was exported" in finding


def test_weights_that_are_not_finite_are_a_finding(models, tmp_path) -> None:
    state = torch.load(models / "classifier.pt", weights_only=True)
    state["model"]["head.bias"][1] = float("nan")
    torch.save(state, tmp_path / "c.pt")
    (finding,) = verify_model(tmp_path / "c.pt")
    assert "the weight head.bias is not finite" in finding
    with pytest.raises(DataError, match="the weight head.bias is not finite"):
        load_pretrained(tmp_path / "c.pt")
    with pytest.raises(DataError, match="the weight head.bias is not finite"):
        export(["--checkpoint", str(tmp_path / "c.pt"), "--dest", str(tmp_path / "exported")])


def test_what_has_no_checksums_is_said(models, tmp_path) -> None:
    state = torch.load(models / "classifier.pt", weights_only=True)
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (finding,) = verify_model(tmp_path / "old.pt")
    assert UNCHECKED in finding and str(tmp_path / "old.pt") in finding
    shutil.copytree(models / "cmelt", tmp_path / "exported")
    path = tmp_path / "exported" / "config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({name: value for name, value in values.items() if "checksum" not in name}), encoding="utf-8")
    (finding,) = verify_model(tmp_path / "exported")
    assert UNCHECKED in finding
    write_release(tmp_path / "release")
    (finding,) = verify_model(tmp_path / "release")
    assert UNCHECKED in finding and "weights.safetensors" in finding


def test_a_list_without_the_weights_is_a_finding(models, tmp_path) -> None:
    shutil.copytree(models / "classifier", tmp_path / "exported")
    path = tmp_path / "exported" / "config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values["checksums"] = {}
    values["checksum"] = config_checksum(values)
    path.write_text(json.dumps(values), encoding="utf-8")
    (finding,) = verify_model(tmp_path / "exported")
    assert "lists no checksum of model.safetensors" in finding


def test_other_things_are_no_models(tmp_path) -> None:
    (tmp_path / "text.pt").write_text("no checkpoint", encoding="utf-8")
    assert "not a readable checkpoint" in verify_model(tmp_path / "text.pt")[0]
    for path, message in ((tmp_path / "none", "no such file or folder"), (tmp_path, "neither an exported model")):
        with pytest.raises(DataError, match=message):
            verify_model(path)
