"""Encoders of frames that users have installed: models of open_clip, which read texts as well, and of timm."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.files.weights_fingerprint import weights_fingerprint

OPEN_CLIP, TIMM = "open_clip", "timm"
# CLIP's own means and standard deviations of RGB in 0 to 1 (Radford et al. 2021), where a model does not say.
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
TEXT_BATCH = 64


class FrameEncoder(Protocol):
    """What makes embeddings of frames.

    Attributes:
        name: for ``meta.json``.
        weights_sha256: ``sha256:…`` of its weights.
        size: height and width of the frames it wants.
    """

    name: str
    weights_sha256: str
    size: tuple[int, int]

    def frames(self, frames: np.ndarray) -> np.ndarray:
        """``frames [F, height, width, 3]`` uint8 → float32 ``[F, D]``."""
        ...

    def texts(self, texts: Sequence[str]) -> np.ndarray | None:
        """float32 ``[C, D]``; None where it reads no texts."""
        ...


class TorchEncoder:
    """An encoder made of a PyTorch module.

    Args:
        name: for ``meta.json``.
        model: the module.
        image: its function of pictures ``[B, 3, height, width]``, standardised.
        size, mean, std: of the pictures it wants.
        device: where it is run.
        batch_size: frames at once.
        text: its function of texts, if it has one.
    """

    def __init__(
        self,
        name: str,
        model: torch.nn.Module,
        image: Any,
        size: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        device: str,
        batch_size: int,
        text: Any = None,
    ) -> None:
        self.name = name
        self.size = size
        self.weights_sha256 = weights_fingerprint(model)
        self._model = model.eval().to(device)
        self._image, self._text = image, text
        self._mean, self._std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (mean, std))
        self._device, self._batch_size = device, batch_size

    @torch.inference_mode()
    def frames(self, frames: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(frames), self._batch_size):
            batch = torch.from_numpy(np.ascontiguousarray(frames[start : start + self._batch_size])).to(self._device)
            pictures = (batch.permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std
            parts.append(self._image(pictures).float().cpu().numpy())
        return np.concatenate(parts)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> np.ndarray | None:
        if self._text is None:
            return None
        parts = [self._text(list(texts[start : start + TEXT_BATCH])) for start in range(0, len(texts), TEXT_BATCH)]
        return torch.cat(parts).float().cpu().numpy()


def load_encoder(name: str, weights: Path | None, device: str, batch_size: int) -> FrameEncoder:
    """Load an encoder.

    Args:
        name: ``open_clip:MODEL`` (an architecture, or ``hf-hub:OWNER/MODEL``) or ``timm:MODEL``.
        weights: a file; None: those that the name stands for.
        device: ``cpu``, ``cuda`` or the like.
        batch_size: frames at once.

    Raises:
        DataError: the library is not installed, or cannot load the model.
    """
    library, _, model = name.partition(":")
    loaders = {OPEN_CLIP: _load_open_clip, TIMM: _load_timm}
    if library not in loaders or not model:
        raise DataError(f"--encoder {name}: must be {OPEN_CLIP}:MODEL or {TIMM}:MODEL")
    try:
        installed: Any = importlib.import_module(library)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:  # also a torchvision of another torch
        package = "open_clip_torch" if library == OPEN_CLIP else library
        raise DataError(f"--encoder {name}: {library} cannot be imported ({error}): pip install {package}") from None
    try:
        return loaders[library](installed, model, weights, device, batch_size)
    except (OSError, RuntimeError, ValueError, KeyError, AttributeError) as error:
        raise DataError(f"--encoder {name}: {library} cannot load it ({' '.join(str(error).split())[:300]})") from None


def _load_open_clip(library: Any, name: str, weights: Path | None, device: str, batch_size: int) -> TorchEncoder:
    hub = name.startswith("hf-hub:")
    if not hub and weights is None:
        raise DataError(f"--encoder {OPEN_CLIP}:{name}: an architecture alone has no weights; give --weights FILE")
    model, _, _ = library.create_model_and_transforms(name, pretrained=None if weights is None else str(weights))
    tokenizer = library.get_tokenizer(name)
    visual = model.visual
    size = getattr(visual, "image_size", 224)
    height, width = (size, size) if isinstance(size, int) else size

    def text(texts: list[str]) -> torch.Tensor:
        return model.encode_text(tokenizer(texts).to(device))

    mean, std = getattr(visual, "image_mean", None) or CLIP_MEAN, getattr(visual, "image_std", None) or CLIP_STD
    return TorchEncoder(f"{OPEN_CLIP}:{name}", model, model.encode_image, (height, width), mean, std, device, batch_size, text)


def _load_timm(library: Any, name: str, weights: Path | None, device: str, batch_size: int) -> TorchEncoder:
    model = library.create_model(
        name, pretrained=weights is None, num_classes=0, checkpoint_path="" if weights is None else str(weights)
    )
    wanted = importlib.import_module(f"{TIMM}.data").resolve_model_data_config(model)
    _, height, width = wanted["input_size"]
    return TorchEncoder(f"{TIMM}:{name}", model, model, (height, width), wanted["mean"], wanted["std"], device, batch_size)
