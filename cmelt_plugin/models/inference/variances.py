"""Variances for a model of points: heads that were trained afterwards, and never touch its means.

``python -m cmelt_plugin.evaluation.variance_head`` trains them and writes ``CHECKPOINT.variances/``. A model with them embeds
ECGs and texts as Gaussians whose means are those of the model alone, bit by bit; similarities stay what they are.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cmelt_plugin.data.files import fingerprint, read_object, write_json
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.base import Embedding, group_means
from cmelt_plugin.models.files.weights_fingerprint import weights_fingerprint
from cmelt_plugin.serialization.safetensors_files import read_safetensors, write_safetensors

FORMAT = 1
SETTINGS_FILE, WEIGHTS_FILE = "variances.json", "variances.safetensors"
AGAIN = "train it again with `python -m cmelt_plugin.evaluation.variance_head`"


class VarianceHead(nn.Module):
    """From features to log-variances: ``[B, W]`` → ``[B, D]``; constant at the start.

    Args:
        width: W.
        dim: D.
        hidden: width of the one hidden layer.
        total: sum of the variances at the start.
    """

    def __init__(self, width: int, dim: int, hidden: int, total: float = 1.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width + 1, hidden)
        self.outer = nn.Linear(hidden, dim)
        nn.init.zeros_(self.outer.weight)
        nn.init.constant_(self.outer.bias, math.log(total / dim))

    def forward(self, features: Tensor) -> Tensor:
        features = features.float()
        # The norm takes the size of the features away, which says much about a recording: it comes beside them.
        size = features.norm(dim=1, keepdim=True).clamp(min=1e-6).log()
        return self.outer(nn.functional.gelu(self.inner(torch.cat([self.norm(features), size], dim=1))))


class VarianceHeads(nn.Module):
    """Heads of ECGs and of texts.

    Args:
        ecg_width: width of the pooled features of ECGs.
        dim: of the embeddings, from which those of texts read.
        hidden, total: as :class:`VarianceHead`.
    """

    def __init__(self, ecg_width: int, dim: int, hidden: int, total: float = 1.0) -> None:
        super().__init__()
        self.sizes = {"ecg_width": ecg_width, "dim": dim, "hidden": hidden}
        self.ecg = VarianceHead(ecg_width, dim, hidden, total)
        self.text = VarianceHead(dim, dim, hidden, total)


class GaussianModel(nn.Module):
    """A model of points with variances; everything else is asked of the model itself.

    Args:
        model: an :class:`~cmelt_plugin.models.base.ECGTextModel` whose embeddings are points.
        heads: its variances.
    """

    def __init__(self, model: Any, heads: VarianceHeads) -> None:
        super().__init__()
        self.model, self.heads = model, heads

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)

    def embed_ecg(self, ecg: Tensor, n_samples: Tensor | None = None) -> Embedding:
        """Two passes of the encoder: for the mean, and for the features that the variances are made of."""
        return Embedding(self.model.embed_ecg(ecg, n_samples).mean, self.heads.ecg(self.model.ecg_features(ecg, n_samples)))

    def embed_text(self, ids: Tensor, padding_mask: Tensor | None = None) -> Embedding:
        mean = self.model.embed_text(ids, padding_mask).mean
        return Embedding(mean, self.heads.text(mean))

    def ensemble(self, texts: Embedding, group: Tensor, n_groups: int) -> Embedding:
        """The model's own ensemble of the means, with the mean variance of each group's texts."""
        mean = self.model.ensemble(Embedding(texts.mean), group, n_groups).mean
        if texts.log_variance is None:
            return Embedding(mean)
        return Embedding(mean, group_means(texts.log_variance.exp(), group, n_groups).log())


def write_variances(folder: str | os.PathLike, heads: VarianceHeads, model: Any, facts: dict[str, Any]) -> Path:
    """Write heads with what tells whose they are; ``facts``: of their training, for readers."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS_FILE).unlink(missing_ok=True)
    write_safetensors(
        folder / WEIGHTS_FILE, {name: tensor.detach().contiguous() for name, tensor in heads.state_dict().items()}
    )
    values = {
        "format": FORMAT,
        "model": weights_fingerprint(model),
        **heads.sizes,
        "weights": fingerprint(folder / WEIGHTS_FILE),
    }
    write_json(folder / SETTINGS_FILE, {**values, "facts": json.loads(json.dumps(facts))})
    return folder


def read_variances(folder: str | os.PathLike) -> dict[str, Any]:
    """What :func:`write_variances` wrote beside the weights: sizes, fingerprints, and ``facts`` of the training.

    Raises:
        DataError: it is missing or of another format.
    """
    path = Path(folder) / SETTINGS_FILE
    values = read_object(path, checked=False)
    if values.get("format") != FORMAT or not isinstance(values.get("facts"), dict):
        raise DataError(f"{path}: not variances of format {FORMAT}; {AGAIN}")
    return values


def add_variances(model: Any, folder: str | os.PathLike) -> GaussianModel:
    """The model with the variances of a folder.

    Raises:
        DataError: they are missing, damaged, or of another model; or the model has variances of its own.
    """
    path, values = Path(folder) / SETTINGS_FILE, read_variances(folder)
    if not hasattr(model, "embed_text"):
        raise DataError(f"{path}: variances belong to models of ECGs and texts; this one reads no texts")
    if values.get("model") != weights_fingerprint(model):
        raise DataError(f"{path}: trained for other weights than these; {AGAIN}")
    weights = Path(folder) / WEIGHTS_FILE
    if not weights.is_file() or fingerprint(weights) != values.get("weights"):
        raise DataError(f"{weights}: missing or changed since it was written; {AGAIN}")
    heads = VarianceHeads(int(values["ecg_width"]), int(values["dim"]), int(values["hidden"]))
    heads.load_state_dict(read_safetensors(weights), strict=True)
    return GaussianModel(model, heads.eval())


def variances_folder(model: str | os.PathLike) -> Path:
    """Where the variances of a checkpoint or an exported folder lie unless another place is chosen."""
    path = Path(model)
    return path / "variances" if path.is_dir() else path.with_name(f"{path.stem}.variances")
