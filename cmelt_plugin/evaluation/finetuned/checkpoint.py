"""A fine-tuned classifier from a checkpoint: what it was trained for, and its outputs for the records of a manifest."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
import torch

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.features import extract_features
from cmelt_plugin.models.files.checkpoint import load_model
from cmelt_plugin.models.files.exported import read_folder


class FinetunedModel(NamedTuple):
    """A classifier and how it was trained.

    Attributes:
        model: the classifier in eval mode, on the CPU.
        class_names: its outputs.
        pool: how its features are pooled.
        task: settings of its task.
        state: what its task keeps, e.g. ``thresholds``.
        leads: leads it was trained with.
        settings: what decides its metrics, for result files.
    """

    model: Any
    class_names: list[str]
    pool: str
    task: dict[str, Any]
    state: dict[str, Any]
    leads: list[str]
    settings: dict[str, Any]

    def features(
        self, manifest: Manifest, batch_size: int = 64, device: str = "cpu", workers: int = 0, bf16: bool = False
    ) -> np.ndarray:
        """Pooled features of every record of a split with the leads of training: float32 ``[N, D]``.

        With ``bf16`` the encoder runs in bfloat16 autocast.
        """
        return extract_features(self.model, manifest, self.pool, self.leads, batch_size, device, workers, bf16=bf16)

    @torch.no_grad()
    def logits(
        self, manifest: Manifest, batch_size: int = 64, device: str = "cpu", workers: int = 0, bf16: bool = False
    ) -> np.ndarray:
        """Outputs for every record of a split: float32 ``[N, C]``; arguments as :meth:`features`."""
        features = self.features(manifest, batch_size, device, workers, bf16)
        return self.model.head.float()(torch.from_numpy(features)).numpy()


def load_finetuned(path: str | os.PathLike, task: str) -> FinetunedModel:
    """Open a checkpoint (or an exported folder) of ``model._name=cmelt_classifier`` that was trained by ``task``.

    Raises:
        DataError: it cannot be read, or is another task's.
    """
    loaded = read_folder(path) if os.path.isdir(path) else load_model(path)
    values = dict(loaded.cfg.get("task") or {})
    if values.get("_name") != task:
        raise DataError(f"{path}: a checkpoint of the task {values.get('_name')!r}; this command evaluates those of {task}")
    cfg = loaded.model.cfg  # a classifier's own settings, whatever encoder it has
    settings = {
        "leads": [str(lead) for lead in values.get("leads") or LEADS],
        **{name: getattr(cfg, name) for name in ("pool", "freeze", "freeze_updates", "pretrained")},
        **{name: values[name] for name in ("problem", "fraction", "subset", "subset_seed") if name in values},
        "seed": values.get("seed"),
    }
    names = [str(name) for name in cfg.class_names]
    return FinetunedModel(loaded.model.float(), names, cfg.pool, values, loaded.task_state, settings["leads"], settings)
