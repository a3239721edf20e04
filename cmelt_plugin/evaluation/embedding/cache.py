"""Embeddings and features that are kept in a folder, so that later runs need no encoder pass."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any, Callable

import numpy as np
from torch import nn

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import atomic_path, fingerprint
from cmelt_plugin.data.store.record_store import STORE_FILE
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.passes import Columns
from cmelt_plugin.models.files.weights_fingerprint import weights_fingerprint

FORMAT = 2
INFO = "info"  # name of the key among the arrays of a file


class EmbeddingCache:
    """What one model said about records and texts.

    A file's name and content hold the fingerprint of the model's weights and of whatever else decides the values, so that
    another checkpoint, other recordings or other texts never meet it.

    Args:
        model: the model.
        folder: where files are kept; None: nowhere, values are only remembered as long as this object lives.
    """

    def __init__(self, model: nn.Module, folder: str | os.PathLike | None = None) -> None:
        self.model = model
        self.folder = None if folder is None else Path(folder)
        self._known: dict[str, Columns] = {}

    @functools.cached_property
    def weights(self) -> str:
        return weights_fingerprint(self.model)

    def columns(self, kind: str, inputs: dict[str, Any], n: int, compute: Callable[[], Columns]) -> Columns:
        """The values of a pass, computed unless they are known.

        Args:
            kind: what they are, e.g. ``features``: begins the file's name.
            inputs: all that decides them beside the model; JSON values.
            n: rows.
            compute: name → float32 ``[n, D]``.

        Raises:
            DataError: as ``compute``; or the file is damaged or holds something else than its name says.
        """
        key = json.dumps([kind, inputs], sort_keys=True)
        if key not in self._known:
            self._known[key] = compute() if self.folder is None else self._kept(kind, inputs, n, compute)
        return self._known[key]

    def _kept(self, kind: str, inputs: dict[str, Any], n: int, compute: Callable[[], Columns]) -> Columns:
        assert self.folder is not None
        info = json.dumps({"format": FORMAT, "model": self.weights, "kind": kind, **inputs}, sort_keys=True)
        path = self.folder / f"{kind}.{hashlib.sha256(info.encode()).hexdigest()[:32]}.npz"
        if path.is_file():
            return _read(path, info, n)
        columns = compute()
        arrays: dict[str, Any] = {INFO: np.frombuffer(info.encode(), dtype=np.uint8), **columns}
        with atomic_path(path) as temporary:
            np.savez(temporary, **arrays)
        return columns


def split_inputs(manifest: Manifest) -> dict[str, Any]:
    """What decides the recordings of a split: the list of records, and the shards by their checksums in store.json."""
    return {
        "records": fingerprint(manifest.directory / f"{manifest.split}.tsv"),
        "store": fingerprint(manifest.store_root / STORE_FILE),
    }


def _read(path: Path, info: str, n: int) -> Columns:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in arrays.files}
        found = columns.pop(INFO).tobytes().decode()
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: damaged ({error}); delete it, and it is computed again") from None
    shapes = [(values.dtype, values.ndim, len(values)) for values in columns.values()]
    if found != info or not shapes or any(shape != (np.float32, 2, n) for shape in shapes):
        raise DataError(f"{path}: holds values of another model or other inputs than its name says; delete it")
    return columns
