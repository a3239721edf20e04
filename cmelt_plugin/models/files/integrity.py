"""Every byte of a model's file or folder against the checksums it carries, for ``python -m cmelt_plugin.verify``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.building import check_fits, own_settings
from cmelt_plugin.models.files.loaded_settings import check_settings
from cmelt_plugin.serialization.checkpoint_files import CheckpointFile, DamagedCheckpoint, open_state
from cmelt_plugin.serialization.weight_checks import check_finite

UNCHECKED = "cannot be checked"  # what findings say that are no faults


def verify_model(path: str | os.PathLike, progress: Callable[[int], Any] | None = None) -> list[str]:
    """What is wrong with a checkpoint of a host, an exported folder or published weights; empty: whole.

    Opening a model checks what it uses of it. This reads everything, e.g. the state of the optimiser, too.

    Args:
        path: the file or folder.
        progress: called with the number of bytes that were read since the last call.

    Returns:
        One line each, which names the file. What carries no checksums, because it was written before there were any, is
        named with the words :data:`UNCHECKED`.

    Raises:
        DataError: there is nothing at ``path``, or no model.
    """
    from cmelt_plugin.models.files.exported import WEIGHTS_FILE, is_exported
    from cmelt_plugin.models.files.released import is_released, load_released, weights_file

    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    folder = path.parent if path.name == WEIGHTS_FILE else path
    if is_exported(folder):
        return _verify_folder(folder, progress)
    if is_released(path):
        found = _findings(lambda: load_released(path, "standard"))
        return found or _unchecked(weights_file(path))
    if path.is_dir():
        raise DataError(f"{path}: neither an exported model (config.json, model.safetensors) nor published weights")
    return _verify_checkpoint(path, progress)


def _verify_folder(folder: Path, progress: Callable[[int], Any] | None) -> list[str]:
    from cmelt_plugin.models.files.exported import CHECKSUMS, CONFIG_FILE, read_config, read_folder

    found = _findings(lambda: read_folder(folder))
    if progress is not None:
        progress(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))
    if not found and read_config(folder / CONFIG_FILE).get(CHECKSUMS) is None:
        found = [f"{folder}: {UNCHECKED}: exported before folders carried checksums; export it again from its checkpoint"]
    return found


def _verify_checkpoint(path: Path, progress: Callable[[int], Any] | None) -> list[str]:
    def check() -> None:
        file.check(progress)
        # Of tensors the weights alone: the state of an optimiser is twice their size.
        cfg, state, model = (file.tree.get(name) for name in ("cfg", "task_state", "model"))
        own = own_settings(file.tree) is not None
        if own:
            check_fits(cfg["model"], model, str(path))
        cfg, state, model = file.load([cfg, state, model])
        check_finite(model, path)
        if own:
            check_settings(cfg, state, str(path))

    try:
        file = open_state(path)
    except DamagedCheckpoint as error:
        return [str(error)]
    return _findings(check) or _unchecked(path)


def _unchecked(path: Path) -> list[str]:
    if path.suffix != ".safetensors" and CheckpointFile(path).checksums:
        return []
    return [f"{path}: {UNCHECKED}: its format has no checksums, and damage inside its numbers cannot be seen"]


def _findings(check: Callable[[], Any]) -> list[str]:
    try:
        check()
    except DataError as error:
        return [" ".join(str(error).split())]
    return []
