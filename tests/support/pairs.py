"""C-MELT's data sets and task over :func:`tiny.write_manifest`, and comparing their batches."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from cmelt_plugin.data.batches.pretraining import PretrainingDataset, PretrainingOptions
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.models.cmelt.inputs import CMELTInputOptions, CMELTInputs

COMMON = {option.name for option in dataclasses.fields(PretrainingOptions)}


def paired(
    manifest: Manifest, tokens: TokenTable, n3s: bool = True, labels: Any = None, n_ecg_tokens: int = 312, **options: Any
) -> PretrainingDataset:
    """A split for C-MELT; without ``n3s`` negatives are random reports. Options are those of the task and of the data set."""
    common = {name: value for name, value in options.items() if name in COMMON}
    own = {name: value for name, value in options.items() if name not in COMMON}
    inputs = CMELTInputs(
        CMELTInputOptions(negatives="n3s" if n3s else "random", **own), SimpleNamespace(n_ecg_tokens=n_ecg_tokens)
    )
    return PretrainingDataset(manifest, inputs, tokens, PretrainingOptions(**common), labels)


def dataset(directory: Path, split: str = "train", n3s: bool = True, **options: Any) -> PretrainingDataset:
    """A split as the task opens it."""
    tokens = TokenTable.load(directory / "reports.tiny.npz", directory / "reports.parquet")
    return paired(Manifest.open(directory, split), tokens, n3s, **options)


def pretraining_task(directory: Any, vocab_size: int = 60, **options: Any) -> Any:
    """The task as it is when it has built a tiny C-MELT."""
    from cmelt_plugin import registry
    from cmelt_plugin.tasks.pretraining import PretrainingConfig, PretrainingTask

    task = PretrainingTask(PretrainingConfig(data=str(directory) if directory else None, **{"seed": 1, **options}))
    task.use(registry.systems()["cmelt"], SimpleNamespace(n_ecg_tokens=312, vocab_size=vocab_size))
    task.state.merge_state_dict({"tokenizer_fingerprint": None})  # shared by all tasks of a process
    return task


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
