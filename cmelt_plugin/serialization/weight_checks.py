"""What is checked of weights, wherever they were read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cmelt_plugin.errors import DataError
from cmelt_plugin.serialization.restricted_pickle import LazyTensor


def check_weights(weights: Any, path: str | os.PathLike) -> None:
    """Raise DataError unless ``weights`` is a table of names and tensors."""
    if not isinstance(weights, dict) or not weights:
        raise DataError(f"{path}: its entry 'model' holds no weights")
    for name, tensor in weights.items():
        if type(name) is not str or not isinstance(tensor, (Tensor, LazyTensor)):
            raise DataError(f"{path}: its entry 'model' holds {str(name)[:80]!r}, which is no weight")


def check_finite(weights: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Raise DataError where a weight is NaN or infinite, and name it."""
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            continue
        # A sum of finite numbers may overflow, one with a NaN or an infinity is never finite; it is the cheapest test.
        if not bool(tensor.sum(dtype=torch.float32).isfinite()) and not bool(tensor.isfinite().all()):
            raise DataError(
                f"{path}: the weight {name} is not finite (NaN or infinite): the training that wrote it had diverged; "
                "take an earlier checkpoint"
            )
