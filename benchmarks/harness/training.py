"""Training steps of any model, without files: twins on the same weights, losses, the optimiser of a configuration."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, Callable
from unittest.mock import patch

import torch
import yaml
from torch import Tensor

from benchmarks.harness.profiling import BACKWARD, FORWARD, OPTIMISER, part
from cmelt_plugin import host, register
from cmelt_plugin.modules import compiling

CHECKPOINTING = "checkpoint_activations"
"""Field of the model's configuration that turns activation checkpointing on."""

register()  # the optimiser of the configurations among them


def twin(model: Any, **changes: Any) -> Any:
    """A model of another configuration that holds the very same parameters, in training mode."""
    cfg = dataclasses.replace(model.cfg, **changes)
    device = next(model.parameters()).device
    other = type(model).build_model(cfg).to(device).train()
    # Of the base class: the host's own knows no assignment.
    torch.nn.Module.load_state_dict(other, model.state_dict(keep_vars=True), assign=True)
    return other


def compiled_twin(model: Any, backend: str) -> Any:
    """A twin with ``model.compile``; backend ``eager`` traces the model and generates no code, which takes minutes."""
    with patch.object(compiling, "BACKEND", backend):
        return twin(model, compile=True)


def to_device(batch: Any, device: str) -> Any:
    """All tensors of a nested batch on a device."""
    if torch.is_tensor(batch):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {name: to_device(value, device) for name, value in batch.items()}
    return batch


def our_losses(model: Any, criterion: Any, sample: dict[str, Any]) -> dict[str, Tensor]:
    """The terms of the loss and their sum ``loss``, per row of the batch, as the criterion computes them."""
    total, rows, log = criterion(model, sample)
    parts = {name[len("loss_") :]: log[name] / rows for name in log if name.startswith("loss_")}
    return {**parts, "loss": total / rows}


def optimiser_settings(configuration: str | os.PathLike) -> dict[str, Any]:
    """The ``optimizer`` section of a training configuration."""
    with open(configuration, encoding="utf-8") as handle:
        return dict(yaml.safe_load(handle)["optimizer"])


def build_optimiser(parameters: Sequence[Tensor], settings: dict[str, Any]) -> Any:
    """The host's optimiser by its registered name, learning rate 5e-5.

    Args:
        parameters: to optimise.
        settings: ``_name`` and fields of its configuration.
    """
    registry = host.host_module("optim")
    name = settings["_name"]
    config_class = registry.OPTIMIZER_DATACLASS_REGISTRY[name]
    known = {field.name for field in dataclasses.fields(config_class)}
    values = {key: value for key, value in settings.items() if key in known and key != "_name"}
    if "tpu" in known:
        values["tpu"] = False  # by default a reference into the whole configuration, which is not there
    return registry.OPTIMIZER_REGISTRY[name](config_class(**values, lr=[5e-5]), list(parameters))


def training_step(loss: Callable[[], Tensor], optimiser: Any, device: str, bf16: bool) -> Callable[[], None]:
    """Forward, backward and optimiser as one function."""

    def step() -> None:
        with part(FORWARD), torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
            value = loss()
        with part(BACKWARD):
            value.backward()
        with part(OPTIMISER):
            optimiser.step()
            optimiser.zero_grad()

    return step
