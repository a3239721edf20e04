"""Encoders of open_clip and timm, with stand-ins for the libraries: what they are asked for, and what becomes of frames."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from cmelt_plugin.errors import DataError
from preprocess.echo.encoders import load_encoder

FRAMES = np.random.default_rng(0).integers(0, 255, (5, 8, 6, 3), dtype=np.uint8)


class Visual(nn.Module):
    image_size = (8, 6)
    image_mean, image_std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(3))


class Clip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual = Visual()

    def encode_image(self, pictures: torch.Tensor) -> torch.Tensor:
        assert not self.training and len(pictures) <= 2
        return pictures.mean(dim=(2, 3)) @ self.visual.weight

    def encode_text(self, ids: torch.Tensor) -> torch.Tensor:
        return ids.float()


@pytest.fixture
def open_clip(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    asked: dict[str, object] = {}
    module = ModuleType("open_clip")

    def create_model_and_transforms(name: str, pretrained: str | None = None):
        asked.update(name=name, pretrained=pretrained)
        if name == "unknown":
            raise RuntimeError("Model config for unknown not found")
        return Clip(), None, None

    module.create_model_and_transforms = create_model_and_transforms
    module.get_tokenizer = lambda name: lambda texts: torch.tensor([[len(text), 1] for text in texts])
    monkeypatch.setitem(sys.modules, "open_clip", module)
    return asked


def test_open_clip_gets_standardised_pictures_and_reads_texts(open_clip) -> None:
    encoder = load_encoder("open_clip:hf-hub:someone/model", None, "cpu", batch_size=2)
    assert open_clip == {"name": "hf-hub:someone/model", "pretrained": None}
    assert encoder.name == "open_clip:hf-hub:someone/model" and encoder.size == (8, 6)
    assert encoder.weights_sha256.startswith("sha256:")
    wanted = (FRAMES.mean(axis=(1, 2)) / 255 - Visual.image_mean) / Visual.image_std
    assert np.allclose(encoder.frames(FRAMES), wanted, atol=1e-5)
    assert np.array_equal(encoder.texts(["a"] * 70 + ["abc"])[[0, -1]], [[1, 1], [3, 1]])


def test_an_architecture_needs_weights_and_failures_are_named(open_clip, tmp_path: Path) -> None:
    load_encoder("open_clip:convnext", tmp_path / "weights.pt", "cpu", 2)
    assert open_clip == {"name": "convnext", "pretrained": str(tmp_path / "weights.pt")}
    for name, reason in (
        ("open_clip:convnext", "give --weights FILE"),
        ("convnext", "must be open_clip:MODEL or timm:MODEL"),
        ("timm:", "must be open_clip:MODEL"),
    ):
        with pytest.raises(DataError, match=reason):
            load_encoder(name, None, "cpu", 2)
    with pytest.raises(DataError, match="open_clip cannot load it .Model config for unknown"):
        load_encoder("open_clip:unknown", tmp_path / "weights.pt", "cpu", 2)


def test_timm_is_asked_for_features(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = {}

    class Features(nn.Module):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return pictures.mean(dim=(2, 3))

    def create_model(name: str, **options):
        asked.update(name=name, **options)
        return Features()

    timm, data = ModuleType("timm"), ModuleType("timm.data")
    timm.create_model, timm.data = create_model, data
    data.resolve_model_data_config = lambda model: {"input_size": (3, 8, 6), "mean": (0, 0, 0), "std": (1, 1, 1)}
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setitem(sys.modules, "timm.data", data)
    encoder = load_encoder("timm:resnet", tmp_path / "w.pth", "cpu", 3)
    assert asked == {"name": "resnet", "pretrained": False, "num_classes": 0, "checkpoint_path": str(tmp_path / "w.pth")}
    assert np.allclose(encoder.frames(FRAMES), FRAMES.mean(axis=(1, 2)) / 255, atol=1e-5)
    assert encoder.texts(["a"]) is None
    load_encoder("timm:resnet", None, "cpu", 3)
    assert asked["pretrained"] is True and asked["checkpoint_path"] == ""


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for library, package in (("open_clip", "open_clip_torch"), ("timm", "timm")):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(DataError, match=f"pip install {package}"):
            load_encoder(f"{library}:x", None, "cpu", 1)


def test_no_attribute_is_guessed_for_models_that_say_nothing(monkeypatch: pytest.MonkeyPatch, open_clip) -> None:
    monkeypatch.setattr(Visual, "image_mean", None)
    monkeypatch.setattr(Visual, "image_std", None)
    encoder = load_encoder("open_clip:hf-hub:a/b", None, "cpu", 2)
    black = encoder.frames(np.zeros((1, 8, 6, 3), np.uint8))
    assert np.allclose(black, -np.array([0.48145466, 0.4578275, 0.40821073]) / [0.26862954, 0.26130258, 0.27577711], atol=1e-5)
    assert SimpleNamespace(**open_clip).name == "hf-hub:a/b"
