"""A trained model from whatever holds one: a host's checkpoint, an exported folder, weights that authors published."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.files.checkpoint import LoadedModel, load_model
from cmelt_plugin.models.files.exported import TOKENIZER_FOLDER, WEIGHTS_FILE, is_exported, read_folder
from cmelt_plugin.models.files.released import is_released, load_released
from cmelt_plugin.weights import shipped_folder


def open_model(path: str | os.PathLike, lead_order: str | Sequence[str] | None = None) -> tuple[LoadedModel, str | None]:
    """The model, strictly loaded, and the folder of its tokenizer where one lies beside it.

    Args:
        path: a checkpoint, an exported folder, published weights, or the name of a model that comes with the package.
        lead_order: published weights only: order of the leads they were trained with.

    Raises:
        DataError: nothing there that can be loaded, or weights that do not fit.
    """
    shipped = shipped_folder(path)
    if shipped is not None:
        try:
            return open_model(shipped, lead_order)
        except DataError as error:
            if lead_order is not None:
                raise
            remedy = (
                "the model is part of the package: where a file is damaged, install that again (pip install --force-reinstall)"
            )
            raise DataError(f"{error}; {remedy}") from None
    path = Path(path)
    tokenizer = None
    folder = path.parent if path.name == WEIGHTS_FILE else path
    if is_exported(folder):
        if (folder / TOKENIZER_FOLDER).is_dir():
            tokenizer = str(folder / TOKENIZER_FOLDER)
        loaded = read_folder(folder)
    elif is_released(path):
        return load_released(path, lead_order), None
    elif path.is_dir():
        raise DataError(f"{path}: neither an exported model (config.json, model.safetensors) nor published weights")
    else:
        loaded = load_model(path)
    if lead_order is not None:
        raise DataError(f"{path}: lead_order is for published weights; this model takes leads in the order of this project")
    return loaded, tokenizer
