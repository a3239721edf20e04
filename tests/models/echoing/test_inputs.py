"""What a split must have before EchoingECG can be trained on its echocardiograms."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny_echo import DIM, write_echo_manifest
from tiny_teacher import write_tiny_teacher

from cmelt_plugin.data.batches.inputs import Pairs, Records
from cmelt_plugin.data.batches.sources import read_sources
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.teacher import entry_of_frames, write_teacher
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.echoing.inputs import EchoingInputOptions, EchoingInputs, EchoingSplitInputs


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_echo_manifest(tmp_path / "m", 12)


def opened(directory: Path, dim: int = DIM, sources: bool = True, **options: Any) -> EchoingSplitInputs:
    manifest = Manifest.open(directory, "train")
    inputs = EchoingInputs(EchoingInputOptions(**options), SimpleNamespace(cfg=SimpleNamespace(embed_dim=dim)))
    return inputs.open(Pairs(manifest, None, None, 16, True, read_sources(manifest) if sources else None))


def test_without_a_teacher_there_are_no_echocardiograms(directory) -> None:
    with pytest.raises(DataError, match="8 records have echocardiograms .* set task.teacher to the folder"):
        opened(directory)
    assert opened(directory, sources=False).teacher is None  # a task that knows reports alone


def test_the_teacher_must_be_as_wide_as_the_model(directory) -> None:
    with pytest.raises(DataError, match=f"embeddings of {DIM} numbers, the model's have 8; set model.embed_dim={DIM}"):
        opened(directory, dim=8, teacher=str(directory / "teacher"))


def test_every_echocardiogram_must_be_the_teachers(directory, tmp_path) -> None:
    teacher = write_tiny_teacher(tmp_path / "few", 2, DIM)
    with pytest.raises(DataError, match="no teacher_id 'e4' "):
        opened(directory, teacher=str(teacher))


def test_a_record_of_ecg_echo_without_an_id_is_named(directory) -> None:
    path = directory / "train.meta.parquet"
    table = pq.read_table(path)
    ids = table["teacher_id"].to_pylist()
    ids[6] = ids[9] = None
    pq.write_table(table.set_column(table.column_names.index("teacher_id"), "teacher_id", [ids]), path)
    with pytest.raises(DataError, match=r"row 6: source is ecg_echo, but there is no teacher_id \(2 such rows in all\)"):
        opened(directory, teacher=str(directory / "teacher"))


def test_variances_of_single_frames_are_raised(directory, tmp_path) -> None:
    """A single frame has no variance: log 1e-8 = -18.4, which would outweigh every other log-variance."""
    rng = np.random.default_rng(0)
    entries = [entry_of_frames(f"e{number}", rng.normal(size=(1 + 3 * (number > 0), DIM)), "s") for number in range(5)]
    teacher = write_teacher(tmp_path / "single", entries, encoder="synthetic", level="video")
    for least in (-14.0, -5.0):
        inputs = opened(directory, teacher=str(teacher), teacher_log_variance_min=least)
        batch: dict[str, Any] = {"net_input": {}}
        inputs.add(batch, Records(np.array([5, 6]), None, None, [], "ecg_echo"))  # e0 and e1
        found = batch["net_input"]["teacher_log_variance"]
        assert batch["teacher_row"].tolist() == [0, 1] and (found[0] == least).all() and found[1].min() >= least
        assert found[1].max() > -5
