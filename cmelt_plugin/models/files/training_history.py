"""What a model's file says of the records it was trained on, without its weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cmelt_plugin.data.directory.training_data import trainings_of
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.files.exported import CONFIG_FILE, WEIGHTS_FILE, is_exported, read_config
from cmelt_plugin.serialization.checkpoint_files import open_state
from cmelt_plugin.weights import shipped_folder


def file_trainings(path: str | os.PathLike) -> list[Any]:
    """:func:`~cmelt_plugin.data.directory.training_data.trainings_of` a checkpoint, an exported folder or a shipped model.

    Published weights, and whatever else does not say, are one training of which nothing is known: ``[None]``.
    """
    file = shipped_folder(path) or Path(path)
    folder = file.parent if file.name == WEIGHTS_FILE else file
    try:
        state = read_config(folder / CONFIG_FILE) if is_exported(folder) else open_state(file).tree
    except (DataError, OSError):  # whoever opens it for its weights says what is wrong with it
        return [None]
    known = state.get("task_state")
    return trainings_of(known) if isinstance(known, dict) else [None]
