"""One training step, here or in one of two processes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from tiny import tiny_model
from torch import Tensor, nn

from cmelt_plugin.models.cmelt.criterion import CMELTCriterionConfig, CompositeCriterion


def filled(**changes: Any) -> nn.Module:
    """A tiny model whose every output depends visibly on its inputs; the same in every process."""
    torch.manual_seed(0)
    model = tiny_model(**changes)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.15)
    return model


def train_step(
    sample: dict[str, Any], model_changes: dict[str, Any], options: dict[str, Any], batch_size: int | None = None
) -> dict[str, Any]:
    """Loss, sample size, log and gradients of a model in training mode; a marked batch counts nothing, as in the hosts.

    ``batch_size``: the largest of all ranks, as tasks know it.
    """
    task = SimpleNamespace(target_dictionary=None, training_batch_size=batch_size)
    model = filled(**model_changes).train()
    criterion = CompositeCriterion(CMELTCriterionConfig(**options), task).train()
    loss, sample_size, log = criterion(model, sample)
    counts = 0 if sample.get("ignore_grad") else 1
    (loss * counts).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"loss": loss.detach() * counts, "sample_size": sample_size * counts, "log": log, "gradients": gradients}


def total(steps: list[dict[str, Any]], name: str) -> Tensor | None:
    """Sum over ranks of one parameter's gradient."""
    gradients = [step["gradients"][name] for step in steps if step["gradients"][name] is not None]
    return sum(gradients) if gradients else None
