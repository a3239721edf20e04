"""Stored integers as millivolts, on whichever device they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def to_mv(ecg: Tensor, mv_per_unit: float) -> Tensor:
    """Digital units of a store as float32 mV, the same bits as ``RecordStore.read``; floating-point numbers are mV already."""
    return ecg if ecg.is_floating_point() else _scaled(ecg, mv_per_unit)


def batch_in_mv(batch: dict[str, Any]) -> dict[str, Any]:
    """A mini-batch with ``net_input["ecg"]`` in float32 mV; itself where it is in mV (no ``mv_per_unit``).

    The units may be floating-point numbers by now: fairseq-signals' trainer turns int16 into float32 (on the device, and
    without loss) or, with ``common.fp16``, into float16. The batch that is given stays as it is: hosts keep one to repeat it.
    """
    if "mv_per_unit" not in batch:
        return batch
    rest = {name: value for name, value in batch.items() if name != "mv_per_unit"}
    inputs = batch["net_input"]
    return {**rest, "net_input": {**inputs, "ecg": _scaled(inputs["ecg"], batch["mv_per_unit"])}}


def _scaled(digital: Tensor, mv_per_unit: float) -> Tensor:
    # A float32 factor, as in NumPy; a Python number would be a double on some devices.
    return digital.to(torch.float32) * torch.tensor(mv_per_unit, dtype=torch.float32)
