"""A manifest of which some records have echocardiograms, with the teacher's Gaussians of these; an EchoingECG of a few thousand
weights, and weights of that size under the names of its authors' release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tiny import write_manifest
from tiny_merl import TINY_BERT
from tiny_teacher import write_tiny_teacher
from torch import Tensor

DIM = 16
HEADS = (
    ("ecg_tower.mean", "ecg_encoder", ""),
    ("ecg_log_variance", "ecg_encoder", "std_"),
    ("text_mean", "text_encoder", ""),
    ("text_log_variance", "text_encoder", "std_"),
)
TINY_ECHOING: dict[str, Any] = {
    "ecg_width": 2,
    "ecg_blocks": "1, 2, 1, 1",
    "embed_dim": DIM,
    "text_encoder_config": json.dumps({**TINY_BERT, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}),
    "text_encoder_pretrained": False,
}


def tiny_echoing(seed: int = 0, **changes: Any) -> Any:
    """An EchoingECG with random weights, without dropout."""
    from cmelt_plugin.models.echoing.config import EchoingConfig
    from cmelt_plugin.models.echoing.model import EchoingECG

    torch.manual_seed(seed)
    return EchoingECG.build_model(EchoingConfig(**{**TINY_ECHOING, **changes}))


def release_weights() -> dict[str, Tensor]:
    """The weights of :func:`tiny_echoing` as the release names them, and its unused pooler."""
    named = {their_name(name): tensor.clone() for name, tensor in tiny_echoing().state_dict().items()}
    width = TINY_BERT["hidden_size"]
    unused = {"weight": torch.zeros(width, width), "bias": torch.zeros(width)}
    found = {name: tensor for name, tensor in named.items() if name is not None}
    return {**found, **{f"text_encoder.backbone.pooler.dense.{kind}": tensor for kind, tensor in unused.items()}}


def their_name(name: str) -> str | None:
    """The release's name of a weight of ours; None: it has none."""
    name = name.replace("text_encoder.model.", "text_encoder.backbone.")
    name = name.replace("ecg_tower.encoder.", "ecg_encoder.")
    for ours, tower, prefix in HEADS:
        head, _, part = name.partition(f"{ours}.")
        if head or not part:
            continue
        part = part.replace("pool.score.", "pool.linear.").replace("pool.ahead.", "pool.gru.")
        if part.startswith("pool.back."):
            part = part.replace("pool.back.", "pool.gru.") + "_reverse"
        return f"{tower}.{prefix}{'g' if part.startswith('pool') else ''}{part}"
    return None if name.startswith(("scale.", "shift.")) else name


def add_echo(directory: Path, split: str, with_echo: range, n_studies: int = 5) -> None:
    """Give some records of a split an echocardiogram, ``e0``, ``e1``, … in turn; every other one loses its report."""
    path = directory / f"{split}.meta.parquet"
    table = pq.read_table(path).to_pydict()
    rows = len(table["record_id"])
    table["source"] = ["ecg_echo" if row in with_echo else "tiny" for row in range(rows)]
    table["report_id"] = [-1 if row in with_echo and row % 2 else report for row, report in enumerate(table["report_id"])]
    table["teacher_id"] = [f"e{row % n_studies}" if row in with_echo else None for row in range(rows)]
    types = {"report_id": pa.int32(), "age": pa.float32(), "source_rate": pa.float32()}
    pq.write_table(pa.table({name: pa.array(values, types.get(name)) for name, values in table.items()}), path)


def write_echo_manifest(directory: Path, n_records: int = 24, dim: int = DIM, **options: Any) -> Path:
    """:func:`tiny.write_manifest` with two thirds of each split's records of ``ecg_echo``, and ``directory / "teacher"``."""
    splits = options.setdefault("splits", ("train", "valid"))
    write_manifest(directory, n_records, **options)
    for split in splits:
        add_echo(directory, split, range(n_records // 3, n_records))
    write_tiny_teacher(directory / "teacher", 5, dim)
    return directory
