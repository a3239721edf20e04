"""Weights that the authors of a system published: known by their names, opened by what the system declares.

Where weights and settings go is the system's to say (``System.released``, a module with the names of :class:`Release`). What
is alike for all stands here: which file it is, reading it, the order of leads, building the model strictly.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from torch import Tensor

from cmelt_plugin import registry
from cmelt_plugin.data.files import read_json
from cmelt_plugin.data.leads import LEADS, MIMIC_IV_ECG_LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.building import build_from_config
from cmelt_plugin.models.files.checkpoint import LoadedModel
from cmelt_plugin.serialization.checkpoint_files import CheckpointFile
from cmelt_plugin.serialization.restricted_pickle import LazyTensor
from cmelt_plugin.serialization.safetensors_files import read_safetensors, tensor_names
from cmelt_plugin.serialization.weight_checks import check_finite

logger = logging.getLogger(__name__)

LEAD_ORDERS = {"standard": LEADS, "mimic-iv-ecg": MIMIC_IV_ECG_LEADS}
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
CONFIG_FILE = "config.json"


class Release(Protocol):
    """What the module of a system's published weights offers.

    Attributes:
        LEAD_ORDER: the 12 leads in the order of the channels they were trained with; None: it is not known.
        MAX_TEXT_TOKENS: length to which texts were cut.
    """

    LEAD_ORDER: Sequence[str] | None
    MAX_TEXT_TOKENS: int

    def recognises(self, names: Collection[str]) -> bool:
        """Whether weights of these names are the release's."""
        ...

    def our_settings(self, weights: Mapping[str, Any], config: dict[str, Any] | None) -> dict[str, Any]:
        """Values of the system's configuration, from the shapes of the weights and ``config.json``. Raises DataError."""
        ...

    def convert(self, weights: dict[str, Tensor], lead_order: Sequence[str]) -> dict[str, Tensor]:
        """The state dict of the system's model. Raises DataError where a weight is unknown or missing."""
        ...


class _Found(NamedTuple):
    system: registry.Model
    release: Release


def load_released(path: str | os.PathLike, lead_order: str | Sequence[str] | None = None) -> LoadedModel:
    """A model with published weights, in eval mode, on the CPU.

    Args:
        path: the file of weights, with ``config.json`` beside it where the release needs one; or their folder.
        lead_order: names of the 12 channels the weights were trained with, or a key of :data:`LEAD_ORDERS`. None: the
            release's own; where that is not known the order of this project, with a warning.

    Raises:
        DataError: unknown, missing or misshapen weights, or a configuration that makes another model.
    """
    file = weights_file(Path(path))
    found = _release_of(file)
    if found is None:
        raise DataError(f"{file}: not the published weights of {' or '.join(sorted(_releases()))}")
    if lead_order is None and found.release.LEAD_ORDER is None:
        logger.warning(
            "%s: taken to expect leads as %s. Weights trained on MIMIC-IV-ECG in its stored order (aVF before aVL) need "
            "lead_order='mimic-iv-ecg'; compare both on recordings with known findings",
            file,
            " ".join(LEADS),
        )
    order = _order(found.release, lead_order)
    config = file.parent / CONFIG_FILE
    described = read_json(config) if config.is_file() else None
    try:
        weights = _read(file)
        check_finite(weights, file)
        cfg = _configuration(found, weights, described, config)
        state = found.release.convert(weights, order)
    except DataError as error:
        text = str(error)
        raise DataError(text if text.startswith((f"{file}: ", f"{config}: ")) else f"{file}: {text}") from None
    except (RuntimeError, LookupError, ValueError, TypeError) as error:
        raise DataError(f"{file}: a published weight has another shape than the release's ({error})") from None
    values = {"_name": found.system.name, **asdict(cfg)}
    model = build_from_config(values, state, str(file))
    return LoadedModel(model, {"model": values, "task": {"max_text_tokens": found.release.MAX_TEXT_TOKENS}}, {})


def is_released(path: str | os.PathLike) -> bool:
    """Whether a file, or a file of a folder, holds weights under the names of a release."""
    path = Path(path)
    if path.is_dir():
        return any(is_released(file) for file in sorted(path.iterdir()) if file.suffix in SUFFIXES)
    return path.is_file() and _release_of(path) is not None


def weights_file(path: Path) -> Path:
    """The file itself, or the one file of published weights in a folder.

    Raises:
        DataError: the folder has none, or several.
    """
    if not path.is_dir():
        return path
    found = [file for file in sorted(path.iterdir()) if file.suffix in SUFFIXES and is_released(file)]
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise DataError(f"{path}: one file of published weights is expected here, found {names}; give the file itself")
    return found[0]


def leads_of_training(path: str | os.PathLike, lead_order: str | Sequence[str] | None = None) -> Sequence[str]:
    """The order of leads in which :func:`load_released` takes the weights' channels; arguments and errors are its own."""
    file = weights_file(Path(path))
    found = _release_of(file)
    if found is None:
        raise DataError(f"{file}: not the published weights of {' or '.join(sorted(_releases()))}")
    return _order(found.release, lead_order)


def _releases() -> dict[str, _Found]:
    return {
        name: _Found(system, cast(Release, importlib.import_module(system.released)))
        for name, system in registry.models().items()
        if system.released is not None
    }


def _release_of(file: Path) -> _Found | None:
    try:
        names = _read(file, lazily=True).keys()
    except DataError:
        return None
    return next((found for found in _releases().values() if found.release.recognises(names)), None)


def _order(release: Release, lead_order: str | Sequence[str] | None) -> Sequence[str]:
    order = LEAD_ORDERS.get(lead_order) if isinstance(lead_order, str) else lead_order or release.LEAD_ORDER or LEADS
    if order is None:
        raise DataError(f"lead_order {lead_order!r}: must be {' or '.join(LEAD_ORDERS)}, or the names of 12 leads")
    return order


def _configuration(found: _Found, weights: Mapping[str, Any], described: Any, config: Path) -> Any:
    try:
        return found.system.config_class()(**found.release.our_settings(weights, described))
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{config}: not a configuration of the release ({error})") from None


def _read(path: Path, lazily: bool = False) -> dict[str, Any]:
    """State dict of a ``.safetensors`` or torch file; ``lazily``: perhaps without the values."""
    if path.suffix == ".safetensors":
        return dict.fromkeys(tensor_names(path)) if lazily else read_safetensors(path)
    file = CheckpointFile(path)
    state: Any = file.tree
    for key in ("model", "state_dict", "model_state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict):
        raise DataError(f"{path}: not a state dict")
    found = {str(name): tensor for name, tensor in state.items() if isinstance(tensor, LazyTensor)}
    return found if lazily else file.load(found)
