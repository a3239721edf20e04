"""Batches of one source each from a manifest, through the inputs of a system that knows both."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_echo import DIM, add_echo, write_echo_manifest

from cmelt_plugin.data.batches.sources import SourceOptions, SourcesDataset, read_sources, restored
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.teacher import open_teacher
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.echoing.inputs import EchoingInputOptions, EchoingInputs

MODEL = SimpleNamespace(cfg=SimpleNamespace(embed_dim=DIM))


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    return write_echo_manifest(tmp_path_factory.mktemp("m") / "m", 30)


def dataset(directory: Path, split: str = "train", **options: Any) -> SourcesDataset:
    manifest = Manifest.open(directory, split)
    inputs = EchoingInputs(EchoingInputOptions(teacher=str(directory / "teacher")), MODEL)
    tokens = TokenTable.load(directory / "reports.tiny.npz", directory / "reports.parquet")
    settings = SourceOptions(seed=3, train=split == "train", **options)
    return SourcesDataset(manifest, inputs, tokens, settings, None, read_sources(manifest))


def test_sources_are_read_from_the_meta_file(directory) -> None:
    sources = read_sources(Manifest.open(directory, "train"))
    assert sources.tolist() == [0] * 10 + [1] * 20


def test_an_epoch_goes_through_every_record_and_every_batch_is_of_one_source(directory) -> None:
    data = dataset(directory)
    assert data.keeps_order_of_batches
    orders = []
    for epoch in (1, 2):
        data.set_epoch(epoch)
        found = data.batches(5, 2)
        assert sorted(np.concatenate(found)) == list(range(30))
        assert all(len(set(data.sources[batch])) == 1 for batch in found)
        orders.append(np.concatenate(found).tolist())
    assert orders[0] != orders[1]
    data.set_epoch(1)
    assert np.concatenate(data.batches(5, 2)).tolist() == orders[0]


def test_echocardiograms_can_be_seen_several_times_in_an_epoch(directory) -> None:
    rows, counts = np.unique(np.concatenate(dataset(directory, echo_upsample=3).batches(5)), return_counts=True)
    assert rows.tolist() == list(range(30)) and counts.tolist() == [1] * 10 + [3] * 20


def test_validation_goes_by_source_and_by_row(directory) -> None:
    data = dataset(directory, "valid")
    assert not data.keeps_order_of_batches
    assert [batch.tolist() for batch in data.batches(8)] == [
        list(range(8)),
        [8, 9],
        list(range(10, 18)),
        list(range(18, 26)),
        list(range(26, 30)),
    ]


def test_a_batch_holds_reports_or_the_teachers_gaussians(directory) -> None:
    data, teacher = dataset(directory), open_teacher(directory / "teacher")
    text, echo = data.collater([0, 3]), data.collater([10, 12, 15])
    assert set(text["net_input"]) == {"ecg", "n_samples", "text", "text_padding_mask"} and text["report_id"].tolist() == [0, 3]
    assert set(echo["net_input"]) == {"ecg", "n_samples", "teacher_mean", "teacher_log_variance"} and "report_id" not in echo
    rows = [0, 2, 0]  # records 10, 12 and 15 have the studies e0, e2 and e0
    assert echo["teacher_row"].tolist() == rows
    assert np.array_equal(echo["net_input"]["teacher_mean"], teacher.mean[rows])
    assert np.array_equal(echo["net_input"]["teacher_log_variance"], teacher.log_variance[rows])


def test_half_precision_of_a_host_does_not_round_the_teacher(directory) -> None:
    """The hosts round every float32 tensor of a batch on its way to the model, and no int32."""
    data = dataset(directory)
    plain, sent = data.collater([10, 12]), data.collater([10, 12], digital=True)
    inputs = {name: value for name, value in sent["net_input"].items() if value is not None}
    rounded = {name: x.to(torch.bfloat16) if x.dtype == torch.float32 else x for name, x in inputs.items()}
    found = restored({**sent, "net_input": rounded})["net_input"]
    for name in ("teacher_mean", "teacher_log_variance"):
        assert torch.equal(found[name], plain["net_input"][name])


def test_a_record_with_a_report_needs_one_and_an_echocardiogram_needs_none(directory, tmp_path) -> None:
    assert (dataset(directory).report_ids[10:] < 0).sum() == 10
    other = write_echo_manifest(tmp_path / "m", 12)
    add_echo(other, "train", range(4, 8))  # records 9 and 11 lost their reports as echocardiograms
    with pytest.raises(DataError, match=r"row 9: no report \(2 records in all\)"):
        dataset(other)
