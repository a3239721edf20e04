"""How the hosts write, copy, find and read their checkpoints: whole, and without running what is in them.

Both hosts read checkpoints with ``torch.load``, which runs code on PyTorch before 2.6 and checks no checksums on any; copy
them in place, so that a kill in the middle leaves half a ``checkpoint_last.pt``; and start anew without a word where that
file is missing. :func:`install` mends all of this in a host's module of checkpoints.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from cmelt_plugin.errors import DataError
from cmelt_plugin.host.choosing import IS_SIGNALS, host_module
from cmelt_plugin.host.saving import TEMPORARY, copy_whole, save_whole
from cmelt_plugin.serialization.checkpoint_files import CheckpointFile, DamagedCheckpoint, load_state

logger = logging.getLogger(__name__)

DEFAULT_RESTORE_FILE = "checkpoint_last.pt"  # of both hosts

# How the hosts begin when a checkpoint is not one of this model, criterion or optimiser.
_MISFITS = ("Cannot load model parameters from checkpoint", "Criterion does not match", "Optimizer does not match")
# What a run was last resumed from: path → state, until the host asks for it.
_read_ahead: dict[str, dict[str, Any]] = {}


# Called with the structure of a checkpoint and its path before a host reads its tensors; may raise DataError.
checkpoint_checks: list[Callable[[dict[str, Any], str], None]] = []


def check_checkpoint(tree: dict[str, Any], path: str) -> None:
    """Raise DataError where one of :data:`checkpoint_checks` does."""
    for check in checkpoint_checks:
        check(tree, path)


def install() -> None:
    """Put these functions in the place of the host's own."""
    checkpoints = host_module("utils.checkpoint_utils" if IS_SIGNALS else "checkpoint_utils")
    path_manager = host_module("utils.file_io" if IS_SIGNALS else "file_io").PathManager
    host_copy, host_save, host_resume = path_manager.copy, checkpoints.torch_persistent_save, checkpoints.load_checkpoint

    def copy(src_path: str, dst_path: str, overwrite: bool = False) -> Any:
        if path_manager.path_requires_pathmanager(src_path) or path_manager.path_requires_pathmanager(dst_path):
            return host_copy(src_path=src_path, dst_path=dst_path, overwrite=overwrite)
        return copy_whole(src_path, dst_path)

    def torch_persistent_save(obj: Any, filename: Any, async_write: bool = False) -> None:
        if async_write or not isinstance(filename, str) or not path_manager.supports_rename(filename):
            return host_save(obj, filename, async_write=async_write)
        save_whole(obj, filename)

    def load_checkpoint(cfg: Any, trainer: Any, **arguments: Any) -> Any:
        path = _on_first_process(trainer, lambda: choose_checkpoint(cfg, trainer))
        changed = cfg if path is None else _Changed(cfg, restore_file=path, finetune_from_model=None)
        try:
            return host_resume(changed, trainer, **arguments)
        except DataError:
            raise
        except Exception as error:
            if not str(error).startswith(_MISFITS):
                raise
            reason = error.__context__ or ""  # the hosts leave out what torch said
            raise DataError(f"{error} {' '.join(str(reason).split())[:500]}".rstrip()) from None
        finally:
            _read_ahead.clear()

    class TorchOfCheckpoints(ModuleType):
        """``torch`` for a host's module of checkpoints, whose ``load`` is safe."""

        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

        @staticmethod
        def load(file: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
            path = os.fspath(getattr(file, "name", file))
            return _read_ahead.pop(os.path.realpath(path), None) or load_state(path, check=check_checkpoint)

    path_manager.copy = staticmethod(copy)
    checkpoints.torch_persistent_save = torch_persistent_save
    checkpoints.load_checkpoint = load_checkpoint
    checkpoints.torch = TorchOfCheckpoints("torch")


# -- Reading -------------------------------------------------------------------------------------------------------------


def choose_checkpoint(cfg: Any, trainer: Any) -> str | None:
    """Which file to resume from where it is not the host's own choice; None: leave it to the host.

    ``checkpoint_last.pt`` where it is whole, else the newest whole checkpoint of the folder by the updates inside. What
    was read is kept for the host, which asks for it next.

    Args:
        cfg: the host's ``checkpoint`` settings.
        trainer: the host's trainer, whose task may refuse to go on (``check_resumption``).

    Raises:
        DataError: there are checkpoints, but none is whole; or ``checkpoint.restore_file`` does not exist; or it is whole
            and cannot be resumed from.
    """
    suffix = trainer.checkpoint_suffix or ""
    if cfg.restore_file != DEFAULT_RESTORE_FILE:
        path = str(cfg.restore_file).replace(".pt", suffix + ".pt")
        if "://" not in path and not os.path.isfile(path):
            raise DataError(f"checkpoint.restore_file={path}: no such file")
        _read(path, cfg, trainer)
        return None
    folder = Path(cfg.save_dir)
    _remove_leftovers(folder)
    last = folder / f"checkpoint_last{suffix}.pt"
    found = [path for path in sorted(folder.glob(f"checkpoint*{suffix}.pt")) if path.is_file()] if folder.is_dir() else []
    if not found:
        return None
    damaged: list[str] = []
    for candidate in [last] * last.is_file() + _newest_first([path for path in found if path != last], damaged):
        try:
            _read(str(candidate), cfg, trainer)
        except DamagedCheckpoint as error:
            damaged.append(str(error))
            continue
        if candidate == last:
            return None
        reason = f"{last} is {'damaged' if last.is_file() else 'missing'}"
        logger.warning("%s: the training goes on from %s, the newest whole checkpoint of this folder", reason, candidate)
        return str(candidate)
    raise DataError(
        f"{folder}: none of its checkpoints is whole ({', '.join(path.name for path in found)}); restore one from a copy, or "
        "move them away to start anew"
    )


def _newest_first(paths: list[Path], damaged: list[str]) -> list[Path]:
    """By the number of updates inside: times of files say when they were copied."""
    updates: dict[Path, tuple[int, str]] = {}
    for path in paths:
        try:
            tree = CheckpointFile(path).tree
            updates[path] = (int(tree["optimizer_history"][-1]["num_updates"]), path.name)
        except DataError as error:
            damaged.append(str(error))
        except (LookupError, TypeError, ValueError):
            pass  # weights alone: nothing to resume
    return sorted(updates, key=lambda path: updates[path], reverse=True)


def _read(path: str, cfg: Any, trainer: Any) -> None:
    """Read what the host is about to ask for, and let the task say whether it can go on from it."""
    state = load_state(path)
    check = getattr(trainer.task, "check_resumption", None)
    if check is not None and not cfg.reset_dataloader:
        check(state, path, trainer.cfg.dataset.train_subset)
    _read_ahead.clear()
    _read_ahead[os.path.realpath(path)] = state


def _remove_leftovers(folder: Path) -> None:
    """What a kill left of a checkpoint that was being written."""
    for path in folder.glob(f"checkpoint*.pt{TEMPORARY}"):
        with contextlib.suppress(OSError):  # a folder that cannot be written to is the host's to complain about
            path.unlink()


def _on_first_process(trainer: Any, choose: Callable[[], str | None]) -> str | None:
    """What the first of several processes chose; all of them stop where it raises DataError."""
    if trainer.data_parallel_world_size < 2:
        return choose()
    answer: list[Any] = [None, None]
    if trainer.data_parallel_rank == 0:
        try:
            answer[0] = choose()
        except DataError as error:
            answer[1] = str(error)
    torch.distributed.broadcast_object_list(answer, src=0, group=trainer.data_parallel_process_group)
    if answer[1] is not None:
        raise DataError(answer[1])
    return answer[0]


class _Changed:
    """A configuration with a few other values."""

    def __init__(self, cfg: Any, **values: Any) -> None:
        self.__dict__.update(values, _cfg=cfg)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cfg, name)
