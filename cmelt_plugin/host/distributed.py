"""Training in several processes: joining them, what cannot be trained with, objects between them."""

from __future__ import annotations

import atexit
import os
from typing import Any

import torch

from cmelt_plugin.errors import DataError
from cmelt_plugin.host.choosing import IS_SIGNALS, host_module

# Values of fairseq's distributed_training.ddp_backend that need fairscale: why not, in a few words.
REFUSED_BACKENDS = {
    "fully_sharded": "fairseq shards with fairscale, cannot resume a training of this model then, and takes neither frozen "
    "parameters nor bf16",
    "slowmo": "an experiment of fairscale's that was never tried with this model",
}


def install() -> None:
    """Mend how the host joins processes and sends objects between them."""
    _join_torchrun()
    _gather_objects_on_cpu()
    _broadcast_objects_through_torch()


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


def data_parallel_group() -> Any | None:
    """The process group gradients are averaged over; None in a single process."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return None
    return host_module("distributed.utils").get_data_parallel_group()


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
    utils = host_module("distributed.utils")
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


def _gather_objects_on_cpu() -> None:
    """The hosts gather Python objects through CUDA byte tensors; without CUDA use torch's own gathering."""
    if torch.cuda.is_available():
        return

    def all_gather_list(data: Any, group: Any = None, max_size: int = 16384) -> list[Any]:
        group = data_parallel_group() if group is None else group
        gathered: list[Any] = [None] * torch.distributed.get_world_size(group)
        torch.distributed.all_gather_object(gathered, data, group=group)
        return gathered

    host_module("distributed.utils").all_gather_list = all_gather_list


def _broadcast_objects_through_torch() -> None:
    """Let several processes resume from a checkpoint, whose parts the hosts send from the first process to the others.

    They read what arrives with ``torch.load``, which since torch 2.6 refuses the configuration in it.
    """

    def broadcast_object(obj: Any, src_rank: int, group: Any, dist_device: Any) -> Any:
        held = [obj]
        torch.distributed.broadcast_object_list(held, src=src_rank, group=group, device=dist_device)
        return held[0]

    host_module("distributed.utils")._broadcast_object_slow = broadcast_object
