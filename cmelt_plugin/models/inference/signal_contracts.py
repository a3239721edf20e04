"""What published models take and do to a recording, in one table (``signal_contracts.json``), and opening them by name."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from cmelt_plugin.data.files import read_object
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.files.released import is_released
from cmelt_plugin.models.inference.pretrained import Pretrained, load_pretrained
from cmelt_plugin.weights import shipped_folder

TABLE = Path(__file__).with_name("signal_contracts.json")
COLUMNS = ("name", "read", "filter", "normalisation", "leads of training", "features", "licence")


class PublishedModel(NamedTuple):
    """A row of the table.

    Attributes:
        title: its name in texts.
        system: whose model here opens its weights.
        sample_rate, samples: Hz and samples of what the model is given; other rates are resampled.
        read: how much of it the encoder reads.
        lead_order: order of the leads of its training, a key of :data:`cmelt_plugin.models.files.released.LEAD_ORDERS`.
        filter, normalisation: what the model does to a recording.
        pool: the model's name of the authors' pooling, which is described in ``pooling``.
        licence: of the weights, where its authors name one.
        source: repository and files, or the paper, that say so.
        weights: where its authors offer them; "": they come with this package.
    """

    title: str
    system: str
    sample_rate: float
    samples: int
    read: str
    lead_order: str
    filter: str
    normalisation: str
    pool: str
    pooling: str
    licence: str
    source: str
    weights: str


@functools.lru_cache(maxsize=1)
def published_models() -> dict[str, PublishedModel]:
    """Name → row."""
    return {name: PublishedModel(**row) for name, row in read_object(TABLE, checked=False).items()}


def table_rows() -> list[Sequence[str]]:
    """The table for people, in the order of :data:`COLUMNS`; every model takes 12 leads in mV, 10 s at 500 Hz."""
    orders = {"standard": "as here", "mimic-iv-ecg": "aVF before aVL"}
    return [
        (f"`{name}`", row.read, row.filter, row.normalisation, orders[row.lead_order], row.pooling, row.licence)
        for name, row in published_models().items()
    ]


def open_published(name: str, weights: str | os.PathLike | None = None, device: str | torch.device = "cpu") -> Pretrained:
    """A published model with its own preprocessing.

    Args:
        name: of the table.
        weights: the file, or folder, that its authors offer and the user has downloaded.
        device: where it computes.

    Raises:
        DataError: no such name, no weights or those of another model, or a model that is not what the table says.
    """
    row = published_models().get(name)
    if row is None:
        raise DataError(f"no published model is called {name!r}; known are {', '.join(published_models())}")
    if not row.weights:
        if weights is not None:
            raise DataError(f"{name} comes with this package; leave weights out")
        return load_pretrained(name, device=device)
    if weights is None:
        raise DataError(f"{name}: give its weights, weights=FILE; its authors offer them at {row.weights} ({row.licence})")
    if not os.path.exists(weights):
        raise DataError(f"{os.fspath(weights)}: no such file or folder; the authors of {row.title} offer it at {row.weights}")
    if not is_released(weights):
        raise DataError(f"{os.fspath(weights)}: not weights as the authors of {row.title} published them; give the path alone")
    opened = load_pretrained(weights, device=device, lead_order=row.lead_order)
    system, signal = opened.cfg["model"]["_name"], opened.model.signal
    if system != row.system:
        others = [other for other, found in published_models().items() if found.system == system and found.weights]
        raise DataError(f"{os.fspath(weights)}: not weights of {row.title}, but of {' or '.join(others) or system}")
    if (signal.sample_rate, signal.n_samples) != (row.sample_rate, row.samples):
        raise DataError(
            f"{os.fspath(weights)}: takes {signal.n_samples} samples at {signal.sample_rate:g} Hz, {row.title} others"
        )
    return opened


def is_published(model: object) -> bool:
    """Whether something names a row of the table that does not come with this package."""
    return isinstance(model, str) and model in published_models() and shipped_folder(model) is None
