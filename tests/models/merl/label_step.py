"""A training step of MERL with labels alone, here or in one of two processes: both import this module anew."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from cmelt_plugin.models.merl.criterion import MERLCriterion, MERLCriterionConfig
from tests.systems.cases import CASES, hosted_model, measured_step

ROWS = 5


class ClassTexts(SimpleNamespace):
    """A task that knows texts of three classes."""

    ids = torch.randint(3, 50, (3, 4), generator=torch.Generator().manual_seed(1))
    target_dictionary = None

    def class_texts(self, training: bool, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return self.ids, torch.zeros(3, 4, dtype=torch.bool)


def sample(reports: list[int]) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {
        "id": torch.arange(ROWS),
        "report_id": torch.tensor(reports),
        "ntokens": 4 * ROWS,
        "net_input": {
            "ecg": torch.randn(ROWS, 12, 800, generator=generator) * 0.3,
            "text": torch.randint(3, 50, (ROWS, 4), generator=generator),
            "text_padding_mask": torch.zeros(ROWS, 4, dtype=torch.bool),
        },
    }


def labelled_sample() -> dict[str, Any]:
    """Class 2 is unknown of all but its positives."""
    unknown = float("nan")
    labels = [[1, 0, 1], [1, 1, unknown], [0, 1, unknown], [0, 0, unknown], [0, unknown, 1]]
    return {**sample([0, 1, 2, 3, 4]), "labels": torch.tensor(labels, dtype=torch.float32)}


def label_step(sample: dict[str, Any], batch_size: int | None = None) -> dict[str, Any]:
    """Loss, rows, log and gradients; ``batch_size``: the largest of all ranks, as tasks know it."""
    options = MERLCriterionConfig(cma_weight=0.0, uma_weight=0.0, label_weight=2.0)
    criterion = MERLCriterion(options, ClassTexts(training_batch_size=batch_size))
    return measured_step(hosted_model(CASES["merl-resnet18"]), criterion, sample)
