"""What MELP's batches hold: where the sentences of reports lie, masked leads, and states of frozen layers."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import token_table, write_manifest, write_text_encoder
from tiny_melp import TINY_MELP, tiny_melp
from torch.nn import functional as F

from cmelt_plugin import registry
from cmelt_plugin.data.batches.pretraining import PretrainingDataset, PretrainingOptions
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.text.reports import read_reports, write_reports
from cmelt_plugin.data.text.statement_spans import StatementTable
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.melp.config import MELPConfig
from cmelt_plugin.models.melp.inputs import MELPInputs
from cmelt_plugin.models.melp.model import MELP
from cmelt_plugin.tasks.pretraining import PretrainingConfig, PretrainingTask
from preprocess.report_embeddings import main

LENGTHS = [[2], [2, 1], [3, 1, 2], [1], [1, 1, 1, 1], [4]]
"""Words of each sentence of each report; word w of report r is token 3 + r + 10 w."""


def words(report: int) -> list[list[int]]:
    places = np.cumsum([0, *LENGTHS[report]])
    return [[3 + report + 10 * (word % 5) for word in range(*span)] for span in zip(places[:-1], places[1:])]


def write_sentences(directory: Path) -> None:
    """Reports of several sentences in place of those that are there, and their token ids."""
    statements = [[" ".join(f"w{word}" for word in sentence) for sentence in words(report)] for report in range(len(LENGTHS))]
    write_reports(directory, [" ".join(parts) for parts in statements], np.full(len(LENGTHS), 4), statements)
    edges = [np.cumsum([0, *lengths]) for lengths in LENGTHS]
    spans = StatementTable.of_rows([np.stack([edge[:-1], edge[1:]], axis=1) for edge in edges])
    table = token_table([sum(words(r), []) for r in range(len(LENGTHS))], directory / "reports.parquet", statements=spans)
    table.info.update(format=2, statements_fingerprint=read_reports(directory).statements_fingerprint)
    table.save(directory / "reports.tiny.npz")


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    folder = write_manifest(tmp_path_factory.mktemp("melp") / "m", n_records=12, n_reports=len(LENGTHS))
    write_sentences(folder)
    return folder


def split_of(
    directory: Path, split: str = "train", max_text_tokens: int = 256, model: Any = None, **options: Any
) -> PretrainingDataset:
    tokens = TokenTable.load(directory / "reports.tiny.npz", directory / "reports.parquet", statements=True)
    settings = PretrainingOptions(train=split == "train", max_text_tokens=max_text_tokens)
    inputs = MELPInputs(MELPInputs.Options(**options), model)
    return PretrainingDataset(Manifest.open(directory, split), inputs, tokens, settings)


def task_of(directory: Path, **options: Any) -> PretrainingTask:
    """The task as it is when it has built a MELP."""
    task = PretrainingTask(PretrainingConfig(data=str(directory), **{"seed": 1, **options}))
    system = registry.System("melp", model="", config="", inputs="cmelt_plugin.models.melp.inputs:MELPInputs")
    task.use(system, SimpleNamespace(vocab_size=60))
    task.state.merge_state_dict({"tokenizer_fingerprint": None})
    return task


def shown(inputs: dict[str, torch.Tensor]) -> list[list[list[int]]]:
    """Token ids of every sentence of every report of a batch."""
    spans, padding = inputs["sentence_spans"], inputs["sentence_padding_mask"]
    return [
        [inputs["text"][row, start:stop].tolist() for (start, stop), out in zip(spans[row].tolist(), padding[row]) if not out]
        for row in range(len(spans))
    ]


@pytest.mark.parametrize("split", ["train", "valid"])
def test_sentences_are_those_of_every_ecgs_own_report(directory, split: str) -> None:
    batch = split_of(directory, split, lead_mask_probability=0.0).collater([4, 0, 5, 8, 1])
    inputs = batch["net_input"]
    names = {"ecg", "n_samples", "text", "text_padding_mask", "sentence_spans", "sentence_padding_mask"}
    assert set(inputs) == names and batch["report_id"].tolist() == [4, 0, 5, 2, 1]
    assert inputs["sentence_spans"].dtype == torch.int64 and inputs["sentence_spans"].shape == (5, 4, 2)
    assert shown(inputs) == [words(report) for report in (4, 0, 5, 2, 1)]
    assert not inputs["sentence_spans"][inputs["sentence_padding_mask"]].any()
    assert batch["max_sentences"] == 4


def test_a_report_that_is_cut_keeps_a_sentence_and_moves_no_other(directory) -> None:
    """D-M5: the release drops such reports from its list, so that others stand beside the wrong ECGs."""
    cut = split_of(directory, max_text_tokens=2, lead_mask_probability=0.0)
    batch = cut.collater([2, 3, 4])
    assert shown(batch["net_input"]) == [[words(2)[0][:1]], words(3), [words(4)[0]]]
    assert batch["max_sentences"] == 1
    assert shown(cut.collater([3])["net_input"]) == [words(3)]
    nothing = split_of(directory, max_text_tokens=1).collater([0, 4])["net_input"]  # an end token alone
    assert not nothing["sentence_padding_mask"].any() and nothing["sentence_spans"].tolist() == [[[0, 1]], [[0, 1]]]


def test_a_report_without_a_full_stop_has_its_sentences(directory) -> None:
    """D-M5: sentences are the report's statements; no punctuation mark is looked for."""
    texts = read_reports(directory).texts.to_pylist()
    assert not any("." in text for text in texts)
    inputs = split_of(directory).collater(list(range(6)))["net_input"]
    assert (~inputs["sentence_padding_mask"]).sum(1).tolist() == [len(lengths) for lengths in LENGTHS]


def test_leads_are_masked_in_training_alone_and_one_stays(directory) -> None:
    """D-M19: the release masks all twelve once in 4096 records."""
    mask = split_of(directory, lead_mask_probability=0.5).collater(list(range(12)))["net_input"]["lead_mask"]
    assert mask.shape == (12, 12) and 0.3 < mask.float().mean() < 0.7
    everything = split_of(directory, lead_mask_probability=1.0).collater(list(range(12)))["net_input"]["lead_mask"]
    assert ((~everything).sum(dim=1) == 1).all()
    assert "lead_mask" not in split_of(directory, "valid", lead_mask_probability=1.0).collater([0, 1])["net_input"]


def test_the_task_asks_for_the_statements_of_the_reports_as_they_are(directory, tmp_path) -> None:
    task_of(directory).load_dataset("valid")
    stale = write_manifest(tmp_path / "m", n_records=12, n_reports=len(LENGTHS))
    write_sentences(stale)
    reports = read_reports(stale)
    write_reports(stale, reports.texts.to_pylist(), np.full(len(LENGTHS), 4), [[text] for text in reports.texts.to_pylist()])
    with pytest.raises(DataError, match=r"reports\.tiny\.npz: does not hold the statements of reports\.parquet"):
        task_of(stale).load_dataset("valid")


def test_longer_padding_moves_no_sentence(directory) -> None:
    task = task_of(directory, pad_text_to=8)
    task.load_dataset("train", combine=True)
    batch = task.dataset("train").collater([2, 3])
    padded = task.with_padded_texts(batch)["net_input"]
    assert padded["text"].shape == (2, 8) and shown(padded) == shown(batch["net_input"]) == [words(2), words(3)]


# -- States of frozen layers that were kept ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    return write_text_encoder(tmp_path_factory.mktemp("t5"))


def model_with(text_encoder: Path, **changes: Any) -> MELP:
    cfg = MELPConfig(**{**TINY_MELP, "text_encoder": str(text_encoder), "text_encoder_pretrained": True, **changes})
    MELP.prepare_config(cfg)
    return MELP.build_model(cfg).eval()


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_states_from_a_file_give_the_outputs_of_the_texts(directory, text_encoder, tmp_path, capsys, precision: str) -> None:
    """Computed by the command, read by training; validation encodes texts. Of upper layers that trained since, too."""
    shutil.copytree(directory, tmp_path / "m")
    directory, model = tmp_path / "m", model_with(text_encoder)
    with pytest.raises(DataError, match=r"report_embeddings.py --manifest .*m makes them, with --system melp.*free_layers"):
        split_of(directory, model=model, texts="cached")
    arguments = ["--manifest", str(directory), "--text-encoder", str(text_encoder), "--system", "melp", "--device", "cpu"]
    arguments += ["--set", "text_free_layers=1", "ecg_tower=resnet18", "resnet_width=4", "--precision", precision]
    assert main(arguments) == 0 and "6 reports, 32 numbers for each token" in capsys.readouterr().out
    assert main(arguments) == 0 and "up to date" in capsys.readouterr().out
    with torch.no_grad():
        model.text_encoder.causal_layers[-1].layer[0].SelfAttention.q.weight.mul_(1.5)
    ways = [
        split_of(directory, model=model, texts=texts, lead_mask_probability=0.0).collater([3, 4, 9, 2])["net_input"]
        for texts in ("cached", "encode")
    ]
    states = ways[0].pop("text_states")
    assert states.dtype == getattr(torch, precision) and states.shape == (4, ways[0]["text"].shape[1] + 2, 32)
    assert all(torch.equal(ways[0][name], ways[1][name]) for name in ways[1] if torch.is_tensor(ways[1][name]))
    tolerance = 1e-5 if precision == "float32" else 5e-3
    longer = {**ways[1], **{name: F.pad(ways[1][name], (0, 3), value=fill) for name, fill in MELPInputs.text_fillers.items()}}
    with torch.no_grad():
        for inputs in (ways[1], longer):
            expected, found = model(**inputs), model(**inputs, text_states=states)
            real = expected["caption_labels"] >= 0
            for name in ("text_embedding", "sentences", "caption_logits"):
                pairs = (found[name][real], expected[name][real]) if name == "caption_logits" else (found[name], expected[name])
                torch.testing.assert_close(*pairs, rtol=tolerance, atol=tolerance, msg=name)
    assert "text_states" not in split_of(directory, "valid", model=model, texts="cached").collater([0, 1])["net_input"]


def test_states_of_layers_that_train_are_not_kept(text_encoder, directory) -> None:
    for changes in ({"text_free_layers": -1}, {"text_free_embeddings": True}, {"text_layout": "released"}):
        with pytest.raises(DataError, match="task.texts=cached with model.text_free_layers=.*: states of reports can be kept"):
            MELPInputs(MELPInputs.Options(texts="cached"), tiny_melp(**changes))
    arguments = ["--manifest", str(directory), "--text-encoder", str(text_encoder), "--system", "melp", "--set"]
    with pytest.raises(DataError, match="--set free: melp has no such setting"):
        main([*arguments, "free=1"])
    with pytest.raises(DataError, match="--system melp: with these settings"):
        main([*arguments, "text_free_layers=-1", "ecg_tower=resnet18", "resnet_width=4"])


def test_states_are_refused_where_a_checkpoint_has_other_frozen_layers(text_encoder) -> None:
    """Layers that train now may be the checkpoint's; embeddings alone do not say whether those that are frozen are."""
    model = model_with(text_encoder)
    inputs = MELPInputs(MELPInputs.Options(texts="cached"), model)
    lower, upper = (layer.layer[0].SelfAttention.q.weight for layer in model.text_encoder.causal_layers)
    model.bfloat16()  # as hosts do: still the same encoder
    with torch.no_grad():
        upper.mul_(1.5)
        inputs.cache.check()
        lower.mul_(1.02)
    with pytest.raises(DataError, match="or has trained layers that are frozen now"):
        inputs.cache.check()


def test_the_fingerprint_is_of_what_is_kept_alone(text_encoder) -> None:
    model = model_with(text_encoder)
    known = model.text_fingerprint()
    assert known != model_with(text_encoder, text_free_layers=0).text_fingerprint()
    assert known != model_with(text_encoder, summary_token=5, begin_token=1, end_token=1).text_fingerprint()
    layers = model.text_encoder.causal_layers
    for layer, same in ((layers[1], True), (layers[0], False)):
        with torch.no_grad():
            layer.layer[0].SelfAttention.q.weight.mul_(1.5)
        assert (model.text_fingerprint() == known) == same
