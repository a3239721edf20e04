"""Mini-batches as the data set makes them, and two of them as one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pairs
import torch
from tiny import PAD, tiny_t5_config, write_manifest

from cmelt_plugin.data.batches.pretraining import PretrainingDataset

# What stands beside a row that is shorter than its new neighbours.
_FILLERS = {"text": PAD, "text_padding_mask": True, "mlm_mask": False}


def without_dropout() -> dict[str, Any]:
    """Changes to the tiny model that make training mode deterministic."""
    text_encoder = {**json.loads(tiny_t5_config()), "dropout_rate": 0.0}
    return {"dropout": 0.0, "attention_dropout": 0.0, "text_encoder_config": json.dumps(text_encoder)}


def dataset(directory: Path, short_row: int | None = None) -> PretrainingDataset:
    """Training data with lead masking, negatives and many records of the same report."""
    if not (directory / "train.tsv").exists():
        write_manifest(directory, n_records=12, n_reports=6, splits=("train",), short_row=short_row)
    return pairs.dataset(directory, seed=3, mlm_probability=0.4)


def joined(*samples: dict[str, Any]) -> dict[str, Any]:
    """The rows of several mini-batches in one."""
    inputs: dict[str, Any] = {}
    length = max(sample["net_input"]["text"].shape[1] if "text" in sample["net_input"] else 0 for sample in samples)
    for name in samples[0]["net_input"]:
        parts = []
        for sample in samples:
            part = sample["net_input"][name]
            if name == "n_samples" and part is None:
                part = torch.full_like(sample["id"], sample["net_input"]["ecg"].shape[-1])
            if name in _FILLERS:
                columns = part.new_full((len(part), length - part.shape[1]), _FILLERS[name])
                part = torch.cat([part, columns], dim=1)
            parts.append(part)
        inputs[name] = torch.cat(parts)
    rows = {name: torch.cat([s[name] for s in samples]) for name, value in samples[0].items() if torch.is_tensor(value)}
    return {**rows, "net_input": inputs, "ntokens": sum(sample["ntokens"] for sample in samples)}
