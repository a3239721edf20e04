"""Models as graphs: what they compute is what the model computes, for any number of recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretrained_files import random_ecg, write_checkpoint, write_classifier, write_tokenizer_folder

from cmelt_plugin import export
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.inference import portable
from cmelt_plugin.models.inference.portable import ONNX, TORCHSCRIPT, open_graph, write_graph
from cmelt_plugin.models.inference.predictor import Predictor
from cmelt_plugin.models.inference.pretrained import load_pretrained
from tests.systems.cases import CASES
from tests.systems.cases import write_checkpoint as write_case

CLASSES = {"SR": ["sinus rhythm"], "AFIB": ["atrial fibrillation", "af"]}
ECGS = np.stack([random_ecg(seed=seed) for seed in range(3)]).astype(np.float32)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("pretrained")
    write_tokenizer_folder(folder / "tokenizer")
    write_checkpoint(folder / "cmelt.pt", folder / "tokenizer")
    return load_pretrained(folder / "cmelt.pt")


def needs(kind: str) -> None:
    if kind == ONNX:
        for name in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(name, reason=f"{name} is not installed: pip install 'cmelt-plugin[onnx]'")


@pytest.mark.parametrize("kind", portable.FORMATS)
def test_zero_shot(tmp_path: Path, pretrained: Any, kind: str) -> None:
    needs(kind)
    written = write_graph(tmp_path, pretrained, kind, CLASSES)
    assert written.difference is not None and written.difference < 1e-4
    run = open_graph(tmp_path / portable.FILES[kind], kind)
    embedding, features, scores = run(ECGS)
    np.testing.assert_allclose(embedding, pretrained.encode_ecg(ECGS), atol=1e-4)
    np.testing.assert_allclose(features, pretrained.ecg_features(ECGS), atol=1e-4)
    predicted = Predictor(pretrained, CLASSES).predict(["a", "b", "c"], pretrained.prepare(ECGS), 3)
    np.testing.assert_allclose(scores, [[one.scores[name] for name in CLASSES] for one in predicted], atol=1e-4)
    described = json.loads((tmp_path / "signal.json").read_text())
    assert described["classes"] == list(CLASSES) and described["outputs"] == ["embedding", "features", "scores"]
    assert described["input"] == {
        "name": "ecg",
        "type": "float32",
        "shape": ["batch", 12, 5000],
        "leads": list(LEADS),
        "leads_read": list(LEADS),
        "unit": "mV",
        "sample_rate": 500,
    }


@pytest.mark.parametrize("problem", ("multi_label", "multi_class"))
def test_a_classifier(tmp_path: Path, problem: str) -> None:
    write_classifier(tmp_path / "c.pt", ["a", "b", "c"], {"problem": problem})
    model = load_pretrained(tmp_path / "c.pt")
    write_graph(tmp_path, model, TORCHSCRIPT)
    *_, scores = open_graph(tmp_path / "model.pt", TORCHSCRIPT)(ECGS)
    np.testing.assert_allclose(scores, model.classify(ECGS)[1], atol=1e-5)


def test_without_classes_it_embeds(tmp_path: Path, pretrained: Any) -> None:
    write_graph(tmp_path, pretrained, TORCHSCRIPT)
    assert len(open_graph(tmp_path / "model.pt", TORCHSCRIPT)(ECGS)) == 2
    assert "classes" not in json.loads((tmp_path / "signal.json").read_text())


def test_a_graph_that_computes_something_else_is_not_kept(
    tmp_path: Path, pretrained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portable, "open_graph", lambda *_: lambda ecg: [np.full((len(ecg), 1), 9.0)])
    with pytest.raises(DataError, match="model.pt: its outputs differ by .* from the model's"):
        write_graph(tmp_path, pretrained, TORCHSCRIPT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", portable.FORMATS)
def test_offsets_of_leads_are_subtracted_in_the_graph(tmp_path: Path, kind: str) -> None:
    needs(kind)
    write_tokenizer_folder(tmp_path / "tokenizer")
    write_case(tmp_path / "merl.pt", CASES["merl-resnet18"], tmp_path / "tokenizer", normalisation="centred")
    merl = load_pretrained(tmp_path / "merl.pt")
    assert merl.model.signal.normalisation == "centred"
    write_graph(tmp_path, merl, kind, CLASSES)
    run = open_graph(tmp_path / portable.FILES[kind], kind)
    offsets = np.linspace(-1, 1, 12, dtype=np.float32)[:, None]
    for found, expected in zip(run(ECGS + offsets), run(ECGS)):
        np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(run(ECGS + offsets)[0], merl.encode_ecg(ECGS), atol=1e-4)


def test_eight_bits(tmp_path: Path, pretrained: Any) -> None:
    needs(ONNX)
    written = write_graph(tmp_path, pretrained, ONNX, CLASSES, int8=True)
    assert [file.name for file in written.files] == ["model.onnx", "model.int8.onnx", "signal.json"]
    embedding, *_ = open_graph(tmp_path / "model.int8.onnx", ONNX)(ECGS)
    similarity = torch.nn.functional.cosine_similarity(torch.from_numpy(embedding), pretrained.encode_ecg(ECGS))
    assert similarity.min() > 0.95 and written.files[1].stat().st_size < written.files[0].stat().st_size
    with pytest.raises(DataError, match="8 bits are for ONNX alone"):
        write_graph(tmp_path, pretrained, TORCHSCRIPT, int8=True)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_classifier(tmp_path / "c.pt", ["a", "b"])
    options = ["--checkpoint", str(tmp_path / "c.pt"), "--dest", str(tmp_path / "graph")]
    assert export.main([*options, "--format", "torchscript"]) == 0
    output = capsys.readouterr().out
    assert "graph/model.pt: " in output and "largest difference from the model's own outputs: 0" in output
    with pytest.raises(DataError, match="model.pt: is there already; --overwrite replaces it"):
        export.main([*options, "--format", "torchscript"])
    assert export.main([*options, "--format", "torchscript", "--overwrite"]) == 0
    with pytest.raises(DataError, match="--prompts is for --format hf, onnx or torchscript"):
        export.main([*options, "--int8"])
