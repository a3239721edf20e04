"""The one door to the host framework: no other package imports ``fairseq`` or ``fairseq_signals``.

Two hosts are supported, fairseq (``fairseq-fixed`` for Python ≥ 3.11, ``fairseq`` below) and fairseq-signals (installed
from source). ``CMELT_HOST=fairseq|fairseq_signals`` chooses; else the one whose command is running; else whichever is
installed, fairseq first. What the rest of the plugin needs of a host stands here under one name, whatever the host calls
it. Importing this package loads the host and mends it.
"""

from cmelt_plugin.host import checkpoints, commands, distributed, repairs
from cmelt_plugin.host.checkpoints import check_checkpoint, checkpoint_checks
from cmelt_plugin.host.choosing import HOSTS, IS_SIGNALS, NAME, choose_host, host_module
from cmelt_plugin.host.distributed import REFUSED_BACKENDS, check_distributed, data_parallel_group
from cmelt_plugin.host.feature_extractor import ecg_feature_extractor
from cmelt_plugin.host.iterators import EpochBatchIterator, epoch_batch_iterator
from cmelt_plugin.host.names import (
    Adam,
    AdamConfig,
    Criterion,
    Dataclass,
    Dataset,
    Model,
    Task,
    TorchAdam,
    metrics,
    model_class,
    model_config_class,
    register_criterion,
    register_model,
    register_optimizer,
    register_task,
    task_state,
)
from cmelt_plugin.host.optim import drop_gradients
from cmelt_plugin.host.registration import add_model

__all__ = [
    "HOSTS",
    "IS_SIGNALS",
    "NAME",
    "REFUSED_BACKENDS",
    "Adam",
    "AdamConfig",
    "Criterion",
    "Dataclass",
    "Dataset",
    "EpochBatchIterator",
    "Model",
    "Task",
    "TorchAdam",
    "add_model",
    "check_checkpoint",
    "check_distributed",
    "checkpoint_checks",
    "choose_host",
    "data_parallel_group",
    "drop_gradients",
    "ecg_feature_extractor",
    "epoch_batch_iterator",
    "host_module",
    "metrics",
    "model_class",
    "model_config_class",
    "register_criterion",
    "register_model",
    "register_optimizer",
    "register_task",
    "task_state",
]

repairs.install()
checkpoints.install()
commands.install()
distributed.install()
