"""A linear probe on fixed features of an ECG encoder, and the file it is kept in (``linear_probe --save-probe``)."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.errors import DataError


class Probe(NamedTuple):
    """A trained probe.

    Attributes:
        weight: float32 ``[C, D]``.
        bias: float32 ``[C]``.
        epoch: the epoch the weights are of, from 1.
        valid_auc: macro AUC on the validation split after each epoch; empty where it was not needed.
    """

    weight: np.ndarray
    bias: np.ndarray
    epoch: int
    valid_auc: np.ndarray

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Logits, ``[N, D]`` → float32 ``[N, C]``."""
        return np.asarray(features, dtype=np.float32) @ self.weight.T + self.bias

    @property
    def fingerprint(self) -> str:
        """``sha256:`` of weights and bias."""
        return "sha256:" + hashlib.sha256(self.weight.tobytes() + self.bias.tobytes()).hexdigest()


def save_probe(path: str | os.PathLike, probe: Probe, names: Sequence[str], info: dict[str, str]) -> None:
    """Write a probe: ``weight``, ``bias``, ``epoch``, ``names`` and ``info`` (text values, e.g. the encoder's fingerprint)."""
    with atomic_path(path) as temporary:
        np.savez(
            temporary,
            weight=probe.weight,
            bias=probe.bias,
            epoch=np.int64(probe.epoch),
            names=np.asarray(names, dtype=np.str_),
            info_keys=np.asarray(list(info), dtype=np.str_),
            info_values=np.asarray(list(info.values()), dtype=np.str_),
        )


def load_probe(path: str | os.PathLike) -> tuple[Probe, list[str], dict[str, str]]:
    """Read what :func:`save_probe` wrote: probe, class names, info.

    Raises:
        DataError: missing, damaged or another kind of file.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; linear_probe --save-probe writes one")
    try:
        with np.load(path, allow_pickle=False) as a:
            probe = Probe(a["weight"], a["bias"], int(a["epoch"]), np.zeros(0))
            names, info = a["names"].tolist(), dict(zip(a["info_keys"].tolist(), a["info_values"].tolist()))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError, TypeError) as error:
        raise DataError(f"{path}: not a saved probe ({error})") from None
    if probe.weight.ndim != 2 or probe.weight.shape[0] != len(names) or probe.bias.shape != (len(names),):
        raise DataError(f"{path}: weights {probe.weight.shape} and bias {probe.bias.shape} for {len(names)} classes")
    return probe, names, info
