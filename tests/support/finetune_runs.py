"""What the tests of fine-tuning share: a tiny pre-trained checkpoint, labels that can be learned, the hosts' commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from hosts import REPOSITORY, host_python
from tiny import TINY_MODEL, tiny_model, tiny_t5_config

from cmelt_plugin.data.directory.split_files import write_split
from cmelt_plugin.data.directory.split_meta import META_SCHEMA
from cmelt_plugin.data.files import write_json
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import shard_name
from cmelt_plugin.data.store.shard_writer import write_records

CLASSES = ["LOUD", "SINE", "DRIFT"]


def save_pretrained(path: Path, **changes: Any) -> Path:
    """A checkpoint as the hosts save it, of a tiny C-MELT with random weights."""
    torch.manual_seed(0)
    model = tiny_model(**changes)
    cfg = {"_name": "cmelt", **TINY_MODEL, "text_encoder_config": tiny_t5_config(), "dropout": 0.1, "attention_dropout": 0.1}
    torch.save(
        {"model": model.state_dict(), "cfg": {"model": {**cfg, **changes}, "task": {"_name": "cmelt_pretraining"}}}, path
    )
    return path


def write_labelled(
    directory: Path,
    sizes: dict[str, int] | None = None,
    classes: Sequence[str] = CLASSES,
    exclusive: bool = False,
    unknown: float = 0.0,
    seed: int = 0,
    records_per_subject: int = 2,
    leads: Sequence[str] = LEADS,
) -> Path:
    """A manifest whose labels show in the signal: LOUD in all leads, SINE in V6, DRIFT in lead I.

    Every subject has a waveform of its own, too, so that people can be told apart. The columns of labels.npy follow
    ``classes``. All but ``leads`` are zero.
    """
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    sizes = sizes or {"train": 48, "valid": 24, "test": 24}
    total = sum(sizes.values())
    if exclusive:
        values = np.eye(3, dtype=np.float32)[rng.integers(0, 3, total)]
    else:
        values = (rng.random((total, 3)) < 0.5).astype(np.float32)
    time = np.arange(5000) / 500
    own = rng.uniform(0.7, 20, total // records_per_subject + 1)
    ecg = 0.1 * rng.normal(size=(total, 12, 5000)).astype(np.float32)
    for row, (loud, sine, drift) in enumerate(values):
        ecg[row] += 0.2 * np.sin(2 * np.pi * own[row // records_per_subject] * time)
        ecg[row] *= 4.0 if loud else 1.0
        ecg[row, 11] += 1.5 * sine * np.sin(2 * np.pi * 8 * time)
        ecg[row, 0] += 1.5 * drift * time / 10
    ecg[:, [lead not in leads for lead in LEADS]] = 0
    write_records(directory, ecg)
    write_json(directory / "labels.json", {"label_set": "tiny", "names": list(classes)})
    columns = [CLASSES.index(name) for name in classes]
    start = 0
    for split, size in sizes.items():
        rows = np.arange(start, start + size)
        labels = values[rows][:, columns]
        labels[rng.random(labels.shape) < unknown] = np.nan
        np.save(directory / f"{split}.labels.npy", labels)
        write_split(
            directory,
            split,
            [shard_name(0)],
            np.zeros(size, dtype=int),
            rows,
            np.full(size, 5000),
            _meta(rows, records_per_subject),
        )
        start += size
    return directory


def _meta(rows: np.ndarray, records_per_subject: int) -> pa.Table:
    n = len(rows)
    return pa.table(
        {
            "record_id": [f"r{row}" for row in rows],
            "subject_id": [f"s{row // records_per_subject}" for row in rows],
            "report_id": np.full(n, -1),
            "sex": [""] * n,
            "age": np.full(n, np.nan),
            "source": ["tiny"] * n,
            "time": [""] * n,
            "source_rate": np.full(n, 500.0),
        },
        schema=META_SCHEMA,
    )


def command(name: str, module: str, config: str, overrides: Sequence[str]) -> list[str]:
    """A host's hydra command with a configuration of examples/finetune, on the CPU."""
    place = ["--config-dir", str(REPOSITORY / "examples" / "finetune"), "--config-name", config]
    on_cpu = ["common.cpu=true"] if name == "fairseq" else []
    fixed = ["dataset.num_workers=0", "common.log_interval=1"]
    return [host_python(name), "-m", f"fairseq_cli.{module}", *place, *on_cpu, *fixed, *overrides]
