"""The one door to the host framework: no other file imports ``fairseq`` or ``fairseq_signals``.

Two hosts are supported, fairseq (``fairseq-fixed`` for Python ≥ 3.11, ``fairseq`` below) and fairseq-signals (installed
from source). ``CMELT_HOST=fairseq|fairseq_signals`` chooses; else the one whose command is running; else whichever is
installed, fairseq first. What the rest of the plugin needs of a host stands in this module under one name, whatever
the host calls it: ``Dataclass``, ``Task``, ``Model``, ``Criterion``, ``Dataset``, ``EpochBatchIterator``, ``metrics``,
``register_task``, ``register_model``, ``register_criterion``, ``register_optimizer`` and the functions below.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import inspect
import logging
import os
import sys
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn

from cmelt_plugin import host_checkpoints
from cmelt_plugin.checkpoint_files import check_finite, open_state
from cmelt_plugin.errors import DataError

HOSTS = ("fairseq", "fairseq_signals")


def choose_host() -> str:
    """Name of the host package.

    Raises:
        ImportError: none is installed, or ``CMELT_HOST`` names none.
    """
    wanted = os.environ.get("CMELT_HOST")
    if wanted:
        if wanted not in HOSTS:
            raise ImportError(f"CMELT_HOST={wanted!r}: must be one of {', '.join(HOSTS)}")
        return wanted
    for name in HOSTS:
        if name in sys.modules:
            return name
    for name in HOSTS:
        if importlib.util.find_spec(name) is not None:
            return name
    raise ImportError(
        "C-MELT is a plugin of fairseq or fairseq-signals and finds neither. Install one: "
        "'pip install --no-build-isolation fairseq-fixed' (Python ≥ 3.11, after torch, numpy, cython, setuptools and "
        "wheel), or fairseq-signals from its source repository (Python ≤ 3.10), and this plugin beside it with "
        "'CMELT_HOST=fairseq_signals pip install .'"
    )


NAME = choose_host()
IS_SIGNALS = NAME == "fairseq_signals"


def _host(module: str) -> Any:
    return importlib.import_module(f"{NAME}.{module}" if module else NAME)


# fairseq's speech tasks ask for tensorboardX whenever fairseq is imported; nothing here uses them.
logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)
logging.getLogger("fsspec").setLevel(logging.WARNING)  # the host turns on debugging output of every library
_host("")
if IS_SIGNALS:
    Dataclass = _host("dataclass").Dataclass
    Task = _host("tasks").Task
    Model = _host("models").BaseModel
    Criterion = _host("criterions").BaseCriterion
    Dataset = _host("data").BaseDataset
    _checkpoints = _host("utils.checkpoint_utils")
else:
    Dataclass = _host("dataclass").FairseqDataclass
    Task = _host("tasks").FairseqTask
    Model = _host("models").BaseFairseqModel
    Criterion = _host("criterions").FairseqCriterion
    Dataset = _host("data").FairseqDataset
    _checkpoints = _host("checkpoint_utils")

register_task = _host("tasks").register_task
register_model = _host("models").register_model
register_criterion = _host("criterions").register_criterion
register_optimizer = _host("optim").register_optimizer
AdamConfig = _host("optim").OPTIMIZER_DATACLASS_REGISTRY["adam"]
Adam = _host("optim").OPTIMIZER_REGISTRY["adam"]
TorchAdam = _host("optim.adam").Adam  # the torch.optim.Optimizer inside; both hosts call it so
metrics = _host("logging").metrics


class EpochBatchIterator(_host("data.iterators").EpochBatchIterator):  # type: ignore[misc]
    """The host's iterator over the batches of an epoch, which resumes in the middle of one on both hosts.

    On both, too, batches wait in memory that a GPU copies from by itself (pinned) where there is a GPU, and only there:
    fairseq-signals pins nowhere, fairseq everywhere, at which PyTorch warns on other machines.
    """

    @property
    def next_epoch_idx(self) -> int:
        # fairseq-signals forgets to return the number where an epoch was restored half-way.
        return self.epoch if self._next_epoch_itr is not None else super().next_epoch_idx

    def _get_iterator_for_epoch(self, *arguments: Any, **options: Any) -> Any:
        # Behind the host's buffer the loader has not started yet when it is handed over and can still be told to pin.
        buffer_size, self.buffer_size = self.buffer_size, max(self.buffer_size, 1)
        try:
            iterator = super()._get_iterator_for_epoch(*arguments, **options)
        finally:
            self.buffer_size = buffer_size
        if iterator is None:
            return None
        buffer = iterator._itr
        loader = buffer._iterable
        loader.pin_memory = torch.cuda.is_available()
        if not buffer_size:
            iterator._itr = iter(loader)
        elif loader.pin_memory:
            buffer._iterable = _OnDevice(loader, torch.cuda.current_device())
        return iterator


class _OnDevice:
    """An iterable that a thread goes through with this process's GPU as its current one, where memory is pinned for it.

    fairseq-signals' buffer fills in a thread that would otherwise work for the first GPU of the machine.
    """

    def __init__(self, iterable: Any, device: int) -> None:
        self.iterable, self.device = iterable, device

    def __iter__(self) -> Any:
        torch.cuda.set_device(self.device)
        return iter(self.iterable)


def epoch_batch_iterator(**arguments: Any) -> Any:
    """The host's ``EpochBatchIterator`` with those of ``arguments`` that this host knows."""
    known = inspect.signature(EpochBatchIterator).parameters
    return EpochBatchIterator(**{name: value for name, value in arguments.items() if name in known})


def ecg_feature_extractor(conv_layers: list[tuple[int, int, int]], n_leads: int) -> nn.Module:
    """The host's wav2vec-style convolutional stack, ``[B, n_leads, T]`` → ``[B, C, N]``, without bias.

    Parameter names are the same on both hosts (``conv_layers.0.0.weight``, ``conv_layers.0.2.weight`` …).
    """
    if IS_SIGNALS:
        extractor = _host("modules.conv_feature_extraction").ConvFeatureExtraction
        return extractor(conv_layers, in_d=n_leads, dropout=0.0, mode="default", conv_bias=False)
    return _fairseq_feature_extractor(conv_layers, n_leads)


def _fairseq_feature_extractor(conv_layers: list[tuple[int, int, int]], n_leads: int) -> nn.Module:
    base = _host("models.wav2vec.wav2vec2").ConvFeatureExtractionModel

    class MultiLeadFeatureExtractor(base):  # fairseq's own takes audio, one channel
        def __init__(self) -> None:
            super().__init__(conv_layers, dropout=0.0, mode="default", conv_bias=False)
            channels, kernel, stride = conv_layers[0]
            first = nn.Conv1d(n_leads, channels, kernel, stride=stride, bias=False)
            nn.init.kaiming_normal_(first.weight)
            self.conv_layers[0][0] = first

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.conv_layers:
                x = layer(x)
            return x

    return MultiLeadFeatureExtractor()


def model_class(cfg: Any) -> type:
    """The registered class behind a model configuration."""
    return _host("models").MODEL_REGISTRY[getattr(cfg, "_name", None) or cfg.arch]


def model_config_class(cls: type) -> type:
    """The dataclass a model class was registered with."""
    return getattr(cls, "__dataclass")  # noqa: B009  (both hosts' register_model sets this name)


def task_state() -> Any:
    """An empty container for what a task keeps in checkpoints; fairseq-signals shares one among all tasks of a process."""
    state = _host("tasks.task" if IS_SIGNALS else "tasks.fairseq_task").StatefulContainer()
    state._state, state._factories = {}, {}
    return state


# -- Optimisers ----------------------------------------------------------------------------------------------------

_DEPTH = "depth_"


def set_depth(parameter: nn.Parameter, depth: int) -> None:
    """Note how many layers lie above a parameter, 0 = the output layer.

    ``param_group`` is the one attribute that both hosts copy to the float32 twin of a half-precision parameter.
    """
    parameter.param_group = f"{_DEPTH}{depth}"  # type: ignore[attr-defined]


def depth_of(parameter: Tensor) -> int | None:
    """What :func:`set_depth` noted, None where it noted nothing."""
    group = str(getattr(parameter, "param_group", ""))
    return int(group[len(_DEPTH) :]) if group.startswith(_DEPTH) else None


def drop_gradients(optimizer: Any, parameters: list[nn.Parameter]) -> None:
    """Make the next step of a host's optimiser leave ``parameters`` and all it remembers of them as they are.

    A gradient of zero would not do: weight decay still moves the weights, and Adam counts the step.

    Raises:
        DataError: the optimiser holds all parameters as one flat copy (``common.fp16``).
    """
    twins = getattr(optimizer, "fp32_params", None)
    if twins is not None and getattr(optimizer, "has_flat_params", False):
        raise DataError("model.freeze_updates with common.fp16=true needs common.fp16_no_flatten_grads=true")
    dropped = {id(parameter) for parameter in parameters}
    for parameter, twin in zip(optimizer.fp16_params, twins) if twins is not None else ():
        if id(parameter) in dropped:
            twin.grad = None
    for parameter in parameters:
        parameter.grad = None


# -- Checkpoints ---------------------------------------------------------------------------------------------------

# What the hosts keep in their checkpoints besides tensors and plain containers.
_SAFE_CHECKPOINT_TYPES: list[Any] = []


def _allow_checkpoint_types() -> None:
    """Let ``torch.load(weights_only=True)``, the default since torch 2.6, read the hosts' checkpoints for users, too.

    Named types are allowed one by one; nothing that can run code is.
    """
    allow = getattr(torch.serialization, "add_safe_globals", None)
    if allow is None:  # torch < 2.4 has no list of safe types
        return
    from argparse import Namespace

    import numpy as np

    scalar_module = "numpy._core.multiarray" if hasattr(np, "_core") else "numpy.core.multiarray"
    scalar = importlib.import_module(scalar_module).scalar
    number_types = [np.dtype(kind) for kind in ("float64", "float32", "int64", "int32", "bool")]
    _SAFE_CHECKPOINT_TYPES[:] = [Namespace, scalar, np.dtype, *{type(dtype) for dtype in number_types}]
    allow(_SAFE_CHECKPOINT_TYPES)


def load_checkpoint_state(path: str, entries: Collection[str] | None = None) -> dict[str, Any]:
    """A host's checkpoint on the CPU: ``model``, ``cfg``, ``task_state``, …; every byte that is read is checked.

    Args:
        path: the file.
        entries: what of it is wanted besides ``model``; None: everything. An optimiser's state is twice the weights.

    Raises:
        DataError: no such file, not a checkpoint or a damaged one, one that holds more than data, or weights that are NaN.
    """
    file = open_state(path)
    tree = file.tree
    if entries is not None:
        tree = {name: value for name, value in tree.items() if name == "model" or name in entries}
    state = file.load(tree)
    check_finite(state["model"], path)
    return state


# Called with the structure of a checkpoint and its path before a host reads its tensors; may raise DataError.
checkpoint_checks: list[Callable[[dict[str, Any], str], None]] = []


def _judge_checkpoint(tree: dict[str, Any], path: str) -> None:
    for check in checkpoint_checks:
        check(tree, path)


# -- Several processes ---------------------------------------------------------------------------------------------


def data_parallel_group() -> Any | None:
    """The process group gradients are averaged over; None in a single process."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return None
    return _host("distributed.utils").get_data_parallel_group()


def _run_through_workers() -> None:
    """Put the functions of ``cmelt_plugin.workers`` in place of those that the hosts' hydra commands run.

    Worker processes that the host spawns do not run hydra: they unpickle the function by its qualified name. One of ours
    makes unpickling import this plugin first. In every process they print errors in one line.
    """
    from cmelt_plugin import workers

    replacements = {
        ("pre_main", "fairseq_cli.train", "main"): workers.train,
        ("pre_main", "fairseq_cli.validate", "main"): workers.validate,
        ("validate", "fairseq_cli.hydra_validate", "validate"): workers.hydra_validate,
    }
    started = os.path.basename(getattr(sys.modules["__main__"], "__file__", None) or "")
    if started == "hydra_validate.py":  # python -m fairseq_cli.hydra_validate
        replacements["validate", "__main__", "validate"] = workers.hydra_validate
    for name in ("fairseq_cli.hydra_train", "fairseq_cli.hydra_validate", "__main__"):
        module = sys.modules.get(name)
        for attribute in ("pre_main", "validate"):
            function = getattr(module, attribute, None)
            where = (attribute, getattr(function, "__module__", ""), getattr(function, "__name__", ""))
            if where in replacements:
                setattr(module, workers.ORIGINAL, function)
                setattr(module, attribute, replacements[where])


def _leave_with_spawned_workers() -> None:
    """Where a worker process has said in one line why it ended, end the command, too, without hydra's account of it."""
    utils = _host("distributed.utils")
    call_main = utils.call_main

    def call_main_and_leave(cfg: Any, main: Any, **arguments: Any) -> None:
        from cmelt_plugin import workers

        try:
            call_main(cfg, main, **arguments)
        except torch.multiprocessing.ProcessExitedException as error:
            # Exceptions of workers arrive as another class; these codes come from workers.errors_in_one_line.
            if error.exit_code in (1, workers.INTERRUPTED):
                raise SystemExit(error.exit_code) from None
            raise
        except KeyboardInterrupt:  # while waiting for workers
            print("\ninterrupted", file=sys.stderr)
            raise SystemExit(workers.INTERRUPTED) from None

    utils.call_main = call_main_and_leave


# Values of fairseq's distributed_training.ddp_backend that need fairscale: why not, in a few words.
REFUSED_BACKENDS = {
    "fully_sharded": "fairseq shards with fairscale, cannot resume a training of this model then, and takes neither frozen "
    "parameters nor bf16",
    "slowmo": "an experiment of fairscale's that was never tried with this model",
}


def check_distributed(cfg: Any) -> None:
    """Refuse what cannot be trained with, before anything is built.

    Args:
        cfg: the host's whole configuration.

    Raises:
        DataError: ``distributed_training.ddp_backend`` is one of :data:`REFUSED_BACKENDS`.
    """
    backend = str(getattr(cfg.distributed_training, "ddp_backend", None))
    if backend in REFUSED_BACKENDS:
        raise DataError(
            f"distributed_training.ddp_backend={backend}: {REFUSED_BACKENDS[backend]}. Use pytorch_ddp (GPUs) or legacy_ddp; "
            "docs/scale.md, 'Sharding the model', says what fits into which memory"
        )


def _leave_process_group() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _join_torchrun() -> None:
    """Let fairseq find the other processes of ``torchrun`` on machines without GPUs, too.

    fairseq joins them only when its configured world size is not 1, whose default is the number of GPUs, and divides by
    that number. Without this, N processes on a CPU machine train N separate models in one folder.
    """
    if IS_SIGNALS:
        return
    utils = _host("distributed.utils")
    infer_init_method = utils.infer_init_method

    def infer_with_torchrun(cfg: Any, force_distributed: bool = False) -> None:
        under_torchrun = all(name in os.environ for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK"))
        if cfg.distributed_init_method is not None or not under_torchrun or int(os.environ["WORLD_SIZE"]) < 2:
            return infer_init_method(cfg, force_distributed)
        # The hosts leave the group standing; its threads then abort some processes at exit, after all work is done.
        atexit.register(_leave_process_group)
        cfg.distributed_init_method = "env://"
        cfg.distributed_world_size = int(os.environ["WORLD_SIZE"])
        cfg.distributed_rank = int(os.environ["RANK"])
        cfg.distributed_no_spawn = True
        if torch.cuda.is_available():
            cfg.device_id = int(os.environ.get("LOCAL_RANK", cfg.distributed_rank % torch.cuda.device_count()))
            torch.cuda.set_device(cfg.device_id)
        else:
            cfg.distributed_backend = "gloo"
            if cfg.ddp_backend not in REFUSED_BACKENDS:
                cfg.ddp_backend = "legacy_ddp"  # fairseq hands device numbers to torch's own, which a CPU model refuses

    utils.infer_init_method = infer_with_torchrun


# -- Repairs -------------------------------------------------------------------------------------------------------


def _mend_cpu_gradient_clipping() -> None:
    """fairseq-signals tests ``torch.cuda.is_available`` without calling it and so cannot clip gradients on a CPU."""
    if not IS_SIGNALS or torch.cuda.is_available():
        return
    utils = _host("utils.utils")

    def clip_grad_norm_(params, max_norm, aggregate_norm_fn=None):
        parameters = [params] if isinstance(params, Tensor) else list(params)
        gradients = [p.grad.detach() for p in parameters if p is not None and p.grad is not None]
        if not gradients:
            return torch.tensor(0.0)
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g.float()) for g in gradients]))
        if aggregate_norm_fn is not None:
            norm = aggregate_norm_fn(norm)
        if max_norm > 0:
            factor = (float(max_norm) / (norm + 1e-6)).clamp_(max=1)
            for gradient in gradients:
                gradient.mul_(factor)
        return norm

    utils.clip_grad_norm_ = clip_grad_norm_


def _gather_objects_on_cpu() -> None:
    """The hosts gather Python objects through CUDA byte tensors; without CUDA use torch's own gathering."""
    if torch.cuda.is_available():
        return

    def all_gather_list(data: Any, group: Any = None, max_size: int = 16384) -> list[Any]:
        group = data_parallel_group() if group is None else group
        gathered: list[Any] = [None] * torch.distributed.get_world_size(group)
        torch.distributed.all_gather_object(gathered, data, group=group)
        return gathered

    _host("distributed.utils").all_gather_list = all_gather_list


def _broadcast_objects_through_torch() -> None:
    """Let several processes resume from a checkpoint, whose parts the hosts send from the first process to the others.

    They read what arrives with ``torch.load``, which since torch 2.6 refuses the configuration in it.
    """

    def broadcast_object(obj: Any, src_rank: int, group: Any, dist_device: Any) -> Any:
        held = [obj]
        torch.distributed.broadcast_object_list(held, src=src_rank, group=group, device=dist_device)
        return held[0]

    _host("distributed.utils")._broadcast_object_slow = broadcast_object


_allow_checkpoint_types()
host_checkpoints.install(_checkpoints, _host("utils.file_io" if IS_SIGNALS else "file_io").PathManager, _judge_checkpoint)
_run_through_workers()
_leave_with_spawned_workers()
_join_torchrun()
_gather_objects_on_cpu()
_broadcast_objects_through_torch()
_mend_cpu_gradient_clipping()
