"""Batches of a system that adds nothing, with reports and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pairs import equal
from tiny import EOS, report_tokens, write_manifest

from cmelt_plugin.data.batches.inputs import InputOptions, Inputs
from cmelt_plugin.data.batches.pretraining import PretrainingDataset, PretrainingOptions
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.text.tokens import TokenTable


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    return write_manifest(tmp_path_factory.mktemp("plain") / "m", n_records=20)


def dataset(directory: Path, text: bool = True, split: str = "train", **options: Any) -> PretrainingDataset:
    tokens = TokenTable.load(directory / "reports.tiny.npz") if text else None
    inputs = Inputs(InputOptions(), None)
    return PretrainingDataset(Manifest.open(directory, split), inputs, tokens, PretrainingOptions(**options))


def test_every_ecg_stands_beside_its_own_report(directory) -> None:
    data = dataset(directory)
    batch = data.collater([3, 8, 1])
    inputs = batch["net_input"]
    assert set(inputs) == {"ecg", "n_samples", "text", "text_padding_mask"} and "report_text" not in batch
    assert batch["report_id"].tolist() == [3, 2, 1]
    for row, report in enumerate([3, 2, 1]):
        assert inputs["text"][row][~inputs["text_padding_mask"][row]].tolist() == [*report_tokens(report), EOS]
    assert batch["ntokens"] == int((~inputs["text_padding_mask"]).sum())
    validation = dataset(directory, split="valid", train=False).collater([3, 8, 1])
    assert torch.equal(validation["report_text"], validation["net_input"]["text"])


def test_without_a_text_encoder_there_are_ecgs_alone(tmp_path) -> None:
    """Also where the records have no reports, and whatever the lengths of texts are to be."""
    data = dataset(write_manifest(tmp_path / "m", reports=False), text=False, group_by_length=True)
    batch = data.collater([4, 2])
    assert set(batch["net_input"]) == {"ecg", "n_samples"}
    assert set(batch) == {"id", "net_input", "nsentences", "nsignals", "ntokens"} and batch["ntokens"] == 2
    rows = np.concatenate(data.batches(7))
    assert sorted(rows) == list(range(24)) and rows.tolist() != list(range(24))
    valid = dataset(data.manifest.directory, text=False, split="valid", train=False)
    assert "report_text" not in valid.collater([0])


def test_whole_batches_are_made_of_texts_of_similar_length(directory) -> None:
    data = dataset(directory, group_by_length=True)
    batches = data.batches(5)
    assert sorted(np.concatenate(batches)[:, 0]) == list(range(20))
    for items in batches:
        assert items[:, 1].tolist() == data.report_ids[items[:, 0]].tolist()
        equal(data.collater(data.__getitems__(items))["net_input"], data.collater(items[:, 0])["net_input"])
    lengths = data.tokens.lengths()[data.report_ids]
    padding = [sum(5 * lengths[rows].max() for rows in way) for way in (np.array(batches)[..., 0], np.arange(20).reshape(4, 5))]
    assert padding[0] < padding[1]


def test_records_are_drawn_to_be_standardised_in_training_alone(directory) -> None:
    rows = list(range(20))
    drawn = [dataset(directory, standardise_probability=p).collater(rows)["standardised"].tolist() for p in (0.3, 0.7, 1.0)]
    assert 0 < sum(drawn[0]) < sum(drawn[1]) < 20 and all(drawn[2])
    assert dataset(directory, standardise_probability=0.7).collater(rows[::-1])["standardised"].tolist() == drawn[1][::-1]
    for never in (dataset(directory), dataset(directory, train=False, standardise_probability=1.0)):
        assert "standardised" not in never.collater(rows)
