"""Classes and tables of a host under one name each, whatever the host calls them."""

from __future__ import annotations

from typing import Any

from cmelt_plugin.host.choosing import IS_SIGNALS, host_module

if IS_SIGNALS:
    Dataclass = host_module("dataclass").Dataclass
    Task = host_module("tasks").Task
    Model = host_module("models").BaseModel
    Criterion = host_module("criterions").BaseCriterion
    Dataset = host_module("data").BaseDataset
else:
    Dataclass = host_module("dataclass").FairseqDataclass
    Task = host_module("tasks").FairseqTask
    Model = host_module("models").BaseFairseqModel
    Criterion = host_module("criterions").FairseqCriterion
    Dataset = host_module("data").FairseqDataset

register_task = host_module("tasks").register_task
register_model = host_module("models").register_model
register_criterion = host_module("criterions").register_criterion
register_optimizer = host_module("optim").register_optimizer
AdamConfig = host_module("optim").OPTIMIZER_DATACLASS_REGISTRY["adam"]
Adam = host_module("optim").OPTIMIZER_REGISTRY["adam"]
TorchAdam = host_module("optim.adam").Adam  # the torch.optim.Optimizer inside; both hosts call it so
metrics = host_module("logging").metrics


def model_class(cfg: Any) -> type:
    """The registered class behind a model configuration."""
    return host_module("models").MODEL_REGISTRY[getattr(cfg, "_name", None) or cfg.arch]


def model_config_class(cls: type) -> type:
    """The dataclass a model class was registered with."""
    return getattr(cls, "__dataclass")  # noqa: B009  (both hosts' register_model sets this name)


def task_state() -> Any:
    """An empty container for what a task keeps in checkpoints; fairseq-signals shares one among all tasks of a process."""
    state = host_module("tasks.task" if IS_SIGNALS else "tasks.fairseq_task").StatefulContainer()
    state._state, state._factories = {}, {}
    return state
