"""A model of Gaussian embeddings whose values and variances a test plants in the recordings, and a teacher to go with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from cmelt_plugin.data.directory.split_files import write_split
from cmelt_plugin.data.directory.split_meta import META_SCHEMA
from cmelt_plugin.data.files import write_json
from cmelt_plugin.data.signal_contract import STORE_SIGNALS
from cmelt_plugin.data.store.record_store import shard_name
from cmelt_plugin.data.store.shard_writer import write_records
from cmelt_plugin.data.teacher import TeacherPrompts, entry_of_frames, write_teacher
from cmelt_plugin.data.text.reports import write_reports
from cmelt_plugin.models.base import CosineSimilarity, Embedding, group_means
from cmelt_plugin.models.files.checkpoint import LoadedModel
from cmelt_plugin.models.inference.pretrained import Pretrained

DIM = 8


def directions(values) -> torch.Tensor:
    """Unit vectors ``[n, DIM]`` in a plane, by an angle of 0 to 90° for values of 0 to 100."""
    angle = torch.as_tensor(np.asarray(values, dtype=np.float32)) * (np.pi / 200)
    result = torch.zeros(len(angle), DIM)
    result[:, 0], result[:, 1] = angle.cos(), angle.sin()
    return result


class Planted(CosineSimilarity, nn.Module):
    """Value = 100 × mean of lead I in mV; every variance = (RMS of lead II in mV)² + 1e-6. Token t of a text says value t."""

    signal = STORE_SIGNALS
    pools = ("mean",)
    vocab_size = 200

    def __init__(self, factor: float = 1.0):
        super().__init__()
        self.factor = factor
        self.weight = nn.Parameter(torch.tensor(factor))

    def embed_ecg(self, ecg, n_samples=None):
        means = directions(100 * self.weight.item() * ecg[:, 0].mean(dim=1))
        variance = ecg[:, 1].square().mean(dim=1) + 1e-6
        return Embedding(means, variance.log()[:, None].expand(-1, DIM).clone())

    def ecg_features(self, ecg, n_samples=None, pool=None):
        return self.embed_ecg(ecg).mean

    def embed_text(self, ids, padding_mask=None):
        means = directions(ids[:, 0].numpy())
        return Embedding(means, torch.full_like(means, -8.0))

    def ensemble(self, texts, group, n_groups):
        log_variance = group_means(texts.log_variance, group, n_groups)
        return Embedding(super().ensemble(texts, group, n_groups).mean, log_variance)


def planted(tokens=None) -> Pretrained:
    """The model as commands load it; ``tokens``: text → token ids, in place of a tokenizer."""
    loaded = Pretrained(LoadedModel(Planted().eval(), {"task": {}, "model": {"_name": "planted"}}, {}), "planted.pt", None)
    if tokens is not None:
        loaded._token_ids = lambda texts: [tokens(text) for text in texts]
        loaded._tokenizer = type("Tokenizer", (), {"pad_token_id": 0})()
    return loaded


def write_planted(
    directory: Path, values: dict[str, np.ndarray], deviation: float | np.ndarray = 0.01, reports: bool = False
) -> Path:
    """A manifest directory with a record for each value of each split, its ``lvef`` (NaN = unknown) and its ``teacher_id``.

    Args:
        directory: to be written.
        values: split → ``[n]``; a record without one looks like 50.
        deviation: standard deviation of the embeddings of all records, of all splits together.
        reports: every record with a value has a report that says it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    every = np.concatenate([np.asarray(known, dtype=np.float64) for known in values.values()])
    ecg = np.random.default_rng(1).normal(size=(len(every), 12, 5000)).astype(np.float32) * 0.05
    ecg[:, 0] = np.nan_to_num(every, nan=50.0)[:, None] / 100
    ecg[:, 1] = np.resize(deviation, len(every))[:, None] * np.where(np.arange(5000) % 2, 1, -1)
    write_records(directory, ecg)
    write_json(directory / "labels.json", {"label_set": "", "names": ["LVEF<40"]})
    said, report_ids = np.unique(every[~np.isnan(every)], return_inverse=True)
    if reports:
        write_reports(directory, [f"value {value:g}" for value in said], np.bincount(report_ids))
    start = 0
    for split, known in values.items():
        n = len(known)
        meta = {
            "record_id": [f"{split}{i}" for i in range(n)],
            "subject_id": [f"{split}-subject{i // 2}" for i in range(n)],
            "report_id": np.where(np.isnan(known) | (not reports), -1, np.searchsorted(said, known)),
            "sex": [""] * n,
            "age": np.full(n, np.nan),
            "source": ["planted"] * n,
            "time": [""] * n,
            "source_rate": np.full(n, 500.0),
        }
        rows, zeros = np.arange(start, start + n), np.zeros(n, dtype=int)
        whole = np.full(n, 5000)
        write_split(directory, split, [shard_name(0)], zeros, rows, whole, pa.table(meta, schema=META_SCHEMA))
        path = directory / f"{split}.meta.parquet"
        table = pq.read_table(path).append_column("lvef", pa.array(np.asarray(known, dtype=np.float64)))
        ids = [f"e{int(value)}" if value == value else None for value in known]
        pq.write_table(table.append_column("teacher_id", pa.array(ids, pa.string())), path)
        labels = np.where(np.isnan(known), np.nan, np.asarray(known) < 40).astype(np.float32)
        np.save(directory / f"{split}.labels.npy", labels[:, None])
        start += n
    return directory


def write_planted_teacher(path: Path, values: np.ndarray, shift: float = 0.0) -> Path:
    """Echocardiograms ``e0``, ``e1``, … whose means lie at their values, and two texts for each value of 0, 1, …, 100.

    Args:
        path: of the sidecar.
        values: of the echocardiograms.
        shift: of the teacher's means from the direction of their value, in units of the value.
    """
    rng = np.random.default_rng(2)
    entries = [
        entry_of_frames(f"e{int(value)}", direction.numpy() + rng.normal(0, 0.01, (4, DIM)), f"s{int(value)}")
        for value, direction in zip(values, directions(np.asarray(values) + shift))
    ]
    numbers = np.tile(np.arange(101.0), 2)
    texts = np.array([f"ejection fraction {number:g}" for number in numbers])
    prompts = TeacherPrompts(directions(numbers).numpy(), numbers, np.array(["lvef"] * len(numbers)), texts)
    return write_teacher(path, entries, encoder="planted", level="study", created="2150-01-01", prompts=prompts)
