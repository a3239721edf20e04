"""What every system must do that writes reports, or that points to parts of a recording."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pretrained_files import TEXTS, random_ecg, write_tokenizer_folder
from tiny import write_manifest

from cmelt_plugin import registry
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.events import Event, event_writer
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.text.reports import write_reports
from cmelt_plugin.evaluation.generate.__main__ import main as generate
from cmelt_plugin.evaluation.ground.__main__ import main as ground
from cmelt_plugin.evaluation.result_files import read_result
from cmelt_plugin.models.base import Grounding, ReportWriter
from cmelt_plugin.models.inference.pretrained import load_pretrained
from tests.systems.cases import CASES, plain_model, write_checkpoint

RECORDS = 8


def able(ability: type) -> list[str]:
    return [name for name, case in CASES.items() if issubclass(registry.systems()[case.system].model_class(), ability)]


WRITING, POINTING = able(ReportWriter), able(Grounding)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer_folder(folder)
    return folder


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> tuple[Path, list[str]]:
    """Records of two splits whose reports have two sentences, a short record among them; and options of both commands."""
    folder = tmp_path_factory.mktemp("material")
    directory = write_manifest(folder / "m", RECORDS, n_reports=4, splits=("train", "test"), short_row=5, k=2)
    (directory / "reports.tiny.npz").unlink()
    statements = [[TEXTS[number], TEXTS[4]] for number in range(4)]
    write_reports(directory, [" ".join(parts) for parts in statements], [4] * 4, statements)
    (folder / "findings.json").write_text(json.dumps({"AFIB": ["atrial fibrillation"], "MI": ["inferior infarct"]}))
    with event_writer(folder / "events.parquet", 500) as write:
        for record in range(RECORDS):
            write(f"test{record}", [Event("MI", 600, 900), Event("AFIB", 1000, 2000)])
    return directory, ["--findings", str(folder / "findings.json"), "--bootstrap", "20"]


def recordings() -> tuple[torch.Tensor, torch.Tensor]:
    """Two recordings, the second half as long as the first, and the samples of both."""
    ecg = torch.from_numpy(np.stack([random_ecg(seed=seed) for seed in (0, 1)])).float()[..., :4000]
    ecg[1, :, 2000:] = 0.0
    return ecg, torch.tensor([4000, 2000])


@pytest.mark.parametrize("name", WRITING)
def test_reports_are_token_ids_and_depend_on_their_recording_alone(name: str) -> None:
    model, (ecg, n_samples) = plain_model(CASES[name]).train(), recordings()
    for beams in (1, 3):
        reports = model.generate(ecg, n_samples, beams=beams, max_tokens=9)
        assert len(reports) == 2 and all(len(report) <= 9 for report in reports)
        assert all(isinstance(token, int) and 0 <= token < model.vocab_size for report in reports for token in report)
        assert model.generate(ecg[1:, :, :2000], None, beams=beams, max_tokens=9) == reports[1:]
    assert model.training


@pytest.mark.parametrize("name", POINTING)
def test_attention_is_a_mixture_of_the_queries_and_follows_the_sentence(name: str) -> None:
    model, (ecg, n_samples) = plain_model(CASES[name]).eval(), recordings()
    text = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 1], [12, 13, 14, 1, 0, 0, 0, 0]])
    padding = text == 0
    spans = torch.tensor([[[0, 3], [3, 7]], [[0, 3], [0, 0]]])
    no_sentence = torch.tensor([[False, False], [False, True]])
    found = model.grounding(ecg, text, padding, spans, no_sentence, n_samples)
    steps = found.queries.shape[2]
    assert found.sentences.shape == (2, 2, steps) and steps == pytest.approx(4000 / found.samples_per_step, abs=2)
    real = found.sentences[~no_sentence]
    torch.testing.assert_close(real.sum(-1), torch.ones(3))
    torch.testing.assert_close(found.queries.sum(-1), torch.ones(found.queries.shape[:2]))
    assert found.queries.min() >= 0 and real.min() >= 0
    assert found.sentences[1, 0, 2000 // found.samples_per_step + 1 :].abs().max() == 0  # padding
    for row, sentence in ((0, 0), (0, 1), (1, 0)):
        share = torch.linalg.lstsq(found.queries[row].T, found.sentences[row, sentence][:, None]).solution
        torch.testing.assert_close(found.queries[row].T @ share, found.sentences[row, sentence][:, None], atol=1e-5, rtol=0)
    assert (found.sentences[0, 0] - found.sentences[0, 1]).abs().max() > 1e-6
    alone = model.grounding(ecg[1:, :, :2000], text[1:, :4], padding[1:, :4], spans[1:, :1], no_sentence[1:, :1])
    torch.testing.assert_close(alone.sentences[0, 0], found.sentences[1, 0, : alone.sentences.shape[2]], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", sorted({*WRITING, *POINTING}))
def test_commands_write_and_ground(name: str, tokenizer: Path, material, tmp_path: Path) -> None:
    """Through a checkpoint; what the command writes is what the model does."""
    directory, options = material
    checkpoint = tmp_path / "checkpoint.pt"
    write_checkpoint(checkpoint, CASES[name], tokenizer)
    state = torch.load(checkpoint, weights_only=False)
    state["cfg"]["task"]["max_text_tokens"] = 200
    torch.save(state, checkpoint)
    common = ["--checkpoint", str(checkpoint), "--manifest", str(directory), "--results", str(tmp_path), *options]
    if name in POINTING:
        assert ground([*common, "--events", str(directory.parent / "events.parquet"), "--figures", "0"]) == 0
        result = read_result(tmp_path / "grounding-m").result
        assert result.n_records == RECORDS and 0 <= result.metrics["pointing"] <= 1
        assert result.per_class["MI"]["pointing|uniform"] == pytest.approx(7 * 300 / 5000 / 8 + 300 / 3500 / 8, rel=0.2)
    if name in WRITING:
        for library in ("nltk", "rouge_score"):
            pytest.importorskip(library, reason="metrics of wording need the extra 'generation'")
        assert generate([*common, "--max-tokens", "7"]) == 0
        rows = [json.loads(line) for line in (tmp_path / "generation-m" / "reports.jsonl").read_text().splitlines()]
        assert len(rows) == RECORDS and all(row["reference"].endswith(TEXTS[4]) for row in rows)
        manifest, pretrained = Manifest.open(directory, "test"), load_pretrained(checkpoint)
        ecg = torch.from_numpy(RecordStore(manifest.store_root).read(manifest.shard, manifest.row))
        written = pretrained.model.generate(ecg, torch.from_numpy(manifest.n_samples.astype(np.int64)), max_tokens=7)
        assert [row["generated"] for row in rows] == pretrained.decode_text(written)
