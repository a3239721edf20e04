"""Paired data sets over :func:`tiny.write_manifest`, and comparing their batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cmelt_plugin.data.batches.ecg_text import ECGTextDataset, PairingOptions
from cmelt_plugin.data.batches.negatives import NegativeTable
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.text.tokens import TokenTable


def dataset(directory: Path, split: str = "train", n3s: bool = True, **options: Any) -> ECGTextDataset:
    """A split as the task opens it; without ``n3s`` negatives are random reports."""
    tokens = TokenTable.load(directory / "reports.tiny.npz", directory / "reports.parquet")
    negatives = NegativeTable.load(directory, split) if n3s else None
    return ECGTextDataset(Manifest.open(directory, split), tokens, PairingOptions(**options), negatives)


def equal(a: Any, b: Any) -> None:
    """Assert that two batches, or parts of them, hold the same bits."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            equal(a[key], b[key])
    elif torch.is_tensor(a):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    else:
        assert a == b
