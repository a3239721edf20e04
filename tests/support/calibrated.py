"""A directory with enough subjects for promises, and models of every kind to calibrate on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from finetune_runs import CLASSES, save_pretrained, write_labelled

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.evaluation.linear_probe.__main__ import main as linear_probe
from cmelt_plugin.models.classifier.model import Classifier
from tests.models.classifier_ranks import tiny_config

PROMPTS = {"LOUD": ["high voltage"], "SINE": ["sine wave", "hum"], "DRIFT": ["baseline drift"]}


def write_calibration_data(directory: Path, n: int = 64, leads: Sequence[str] = LEADS) -> Path:
    """Splits train, valid and test of 48, n and 24 records, two of each subject, some labels unknown; other leads are flat."""
    return write_labelled(directory, {"train": 48, "valid": n, "test": 24}, unknown=0.05, leads=leads)


def save_classifier(
    path: Path, state: dict[str, Any] | None = None, names: Sequence[str] = CLASSES, **task_values: Any
) -> Path:
    """A classifier of random weights whose outputs differ from record to record."""
    torch.manual_seed(0)
    made = Classifier.build_model(tiny_config(num_classes=3, class_names=list(names)))
    torch.nn.init.normal_(made.head.weight, std=1.0)
    cfg = {**dataclasses.asdict(made.cfg), "_name": "cmelt_classifier"}
    task = {"_name": "cmelt_classification", "leads": list(LEADS), "seed": 7, **task_values}
    torch.save({"model": made.state_dict(), "cfg": {"model": cfg, "task": task}, "task_state": state or {}}, path)
    return path


def save_probed(folder: Path, directory: Path) -> tuple[Path, Path]:
    """A checkpoint of random weights and a probe on it, trained on the directory's training split."""
    checkpoint, probe = save_pretrained(folder / "pretrained.pt"), folder / "probe.npz"
    arguments = ["--checkpoint", checkpoint, "--manifest", directory, "--results", folder / "probes", "--epochs", 3]
    arguments += ["--bootstrap", 0, "--save-probe", probe]
    assert linear_probe([str(argument) for argument in arguments]) == 0
    return checkpoint, probe


def subjects_of(n: int) -> np.ndarray:
    """Number of each record's subject in a split of n records of :func:`write_calibration_data`."""
    return np.arange(n) // 2
