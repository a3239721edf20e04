"""What MERL's batches hold: masked leads, and vectors of reports in place of their tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import write_manifest, write_text_encoder

from cmelt_plugin.data.batches.pretraining import PretrainingDataset, PretrainingOptions
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.merl.config import MERLConfig
from cmelt_plugin.models.merl.inputs import MERLInputOptions, MERLInputs
from cmelt_plugin.models.merl.model import MERL
from preprocess.report_embeddings import main


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    return write_manifest(tmp_path_factory.mktemp("merl") / "m", n_records=12, n_reports=6)


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    return write_text_encoder(tmp_path_factory.mktemp("t5"))


def merl(text_encoder: Path, **changes: Any) -> MERL:
    cfg = MERLConfig(ecg_width=4, embed_dim=16, text_encoder=str(text_encoder), text_pool="mean", **changes)
    MERL.prepare_config(cfg)
    return MERL.build_model(cfg)


def split_of(
    directory: Path, model: Any, split: str = "train", max_text_tokens: int = 256, **options: Any
) -> PretrainingDataset:
    inputs = MERLInputs(MERLInputOptions(**options), model)
    tokens = TokenTable.load(directory / "reports.tiny.npz", directory / "reports.parquet")
    settings = PretrainingOptions(train=split == "train", max_text_tokens=max_text_tokens)
    return PretrainingDataset(Manifest.open(directory, split), inputs, tokens, settings)


def test_every_ecg_stands_beside_its_own_report(directory, text_encoder) -> None:
    split = split_of(directory, merl(text_encoder), lead_mask_probability=0.0)
    batch = split.collater([3, 4, 9])
    assert batch["report_id"].tolist() == [3, 4, 3]
    assert set(batch["net_input"]) == {"ecg", "n_samples", "text", "text_padding_mask"}
    assert batch["net_input"]["text"][0].tolist() == batch["net_input"]["text"][2].tolist()


def test_leads_are_masked_in_training_alone(directory, text_encoder) -> None:
    model = merl(text_encoder)
    mask = split_of(directory, model, lead_mask_probability=0.5).collater(list(range(12)))["net_input"]["lead_mask"]
    assert mask.shape == (12, 12) and 0.3 < mask.float().mean() < 0.7 and not mask.all(dim=1).any()
    assert "lead_mask" not in split_of(directory, model, "valid").collater([0, 1])["net_input"]


def test_vectors_of_reports_give_the_loss_of_their_texts(directory, text_encoder, tmp_path, capsys) -> None:
    """Computed by the command, read by training; validation encodes texts."""
    model = merl(text_encoder).eval()
    with pytest.raises(DataError, match=r"preprocess/report_embeddings.py --manifest .*m makes them"):
        split_of(directory, model, texts="cached")
    arguments = ["--manifest", str(directory), "--text-encoder", str(text_encoder), "--pool", "mean", "--device", "cpu"]
    assert main(arguments) == 0
    assert "6 reports of 5.0 tokens on average, at most 6; 0 are cut to 256" in capsys.readouterr().out
    assert main(arguments) == 0 and "up to date, 6 reports, 32 numbers each" in capsys.readouterr().out
    cached = split_of(directory, model, texts="cached", lead_mask_probability=0.0).collater([3, 4, 9])["net_input"]
    texts = split_of(directory, model, lead_mask_probability=0.0).collater([3, 4, 9])["net_input"]
    assert set(cached) == {"ecg", "n_samples", "text_features"} and cached["text_features"].dtype == torch.float32
    with torch.no_grad():
        for name, value in model(**texts).items():
            torch.testing.assert_close(model(**cached)[name], value, rtol=1e-4, atol=1e-5, msg=name)
    assert "text" in split_of(directory, model, "valid", texts="cached").collater([0, 1])["net_input"]
    # Reports that are cut elsewhere have other vectors.
    with pytest.raises(DataError, match="max_tokens"):
        split_of(directory, model, max_text_tokens=4, texts="cached")


def test_vectors_are_refused_where_the_text_encoder_trains_or_was_replaced(directory, text_encoder) -> None:
    with pytest.raises(DataError, match="text_free_layers=1: vectors of reports can be kept for a frozen text encoder alone"):
        MERLInputs(MERLInputOptions(texts="cached"), merl(text_encoder, text_free_layers=1))
    with pytest.raises(DataError, match="task.texts must be one of encode, cached"):
        MERLInputs(MERLInputOptions(texts="kept"), merl(text_encoder))
    model = merl(text_encoder)
    inputs = MERLInputs(MERLInputOptions(texts="cached"), model)
    model.half()  # as hosts do: still the same encoder
    inputs.cache.check()
    with torch.no_grad():  # as a checkpoint with another text encoder would
        model.text_encoder.model.get_input_embeddings().weight.mul_(1.5)
    with pytest.raises(DataError, match="another text encoder than model.text_encoder names"):
        inputs.cache.check()


def test_epochs_have_orders_of_their_own(directory, text_encoder) -> None:
    """D-R9: the release's sampler is never told of the epoch, so that every one has the same order."""
    split = split_of(directory, merl(text_encoder))
    orders = []
    for epoch in (1, 2, 1):
        split.set_epoch(epoch)
        orders.append(np.concatenate(split.batches(4)).tolist())
    assert orders[0] == orders[2] != orders[1] and sorted(orders[1]) == list(range(12))
