"""``python -m cmelt_plugin.evaluation.ground`` with a model that looks where the signal is."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from pretrained_files import TEXTS, write_checkpoint, write_tokenizer_folder
from tiny import write_manifest

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.events import Event, event_writer
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.store.shard_writer import write_records
from cmelt_plugin.data.text.reports import write_reports
from cmelt_plugin.data.text.tokenizer import load_tokenizer
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.ground.__main__ import main
from cmelt_plugin.evaluation.ground.examples import read_examples
from cmelt_plugin.evaluation.report.__main__ import main as report_page
from cmelt_plugin.evaluation.result_files import read_result
from cmelt_plugin.models.base import TimeAttention
from cmelt_plugin.models.cmelt.model import CMELT

RECORDS, STEP = 12, 50
FIBRILLATION, BLOCK, INFARCT = TEXTS[1], TEXTS[2], TEXTS[4]
REPORTS = [[FIBRILLATION, TEXTS[0]], [TEXTS[0], BLOCK], [f"no {BLOCK}", INFARCT], [f"{FIBRILLATION} {BLOCK}"]]
FINDINGS = {"AFIB": ["atrial fibrillation"], "LBBB": ["left bundle branch block"], "MI": ["inferior infarct"]}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer_folder(folder, [*TEXTS, "no"])
    return folder


@pytest.fixture(scope="module")
def checkpoint(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "checkpoint.pt"
    write_checkpoint(path, tokenizer)
    state = torch.load(path, weights_only=False)
    state["cfg"]["task"]["max_text_tokens"] = 200
    torch.save(state, path)
    return path


@pytest.fixture
def seen(tokenizer, monkeypatch):
    """C-MELT, taught to look at what is loud for the first sentence of a report, and nowhere in particular for others; what the
    sentences were, by batch."""
    texts = []
    words = load_tokenizer(str(tokenizer))

    class Pointer(CMELT):
        def grounding(self, ecg, text, text_padding_mask, sentence_spans, sentence_padding_mask, n_samples=None):
            assert not torch.is_grad_enabled() and not self.training
            assert (sentence_padding_mask == (sentence_spans[..., 1] == 0)).all()
            rows = zip(text, sentence_spans, ~sentence_padding_mask)
            texts.append([[words.decode(row[a:b]) for a, b in spans[real]] for row, spans, real in rows])
            energy = ecg.square().mean(1).unflatten(1, (-1, STEP)).mean(2)
            loud, even = energy / energy.sum(1, keepdim=True), torch.full_like(energy, 1 / energy.shape[1])
            first = torch.arange(sentence_spans.shape[1]) == 0
            return TimeAttention(torch.where(first[:, None], loud[:, None], even[:, None]), torch.stack([loud, even], 1), STEP)

    build = CMELT.build_model.__func__
    monkeypatch.setattr(CMELT, "build_model", lambda cfg, task=None: build(Pointer, cfg, task))
    return texts


@pytest.fixture
def directory(tmp_path):
    """Twelve quiet recordings with a loud second at 2 s, the last without a report; one of them ends after 7 s."""
    folder = write_manifest(tmp_path / "m", n_records=RECORDS, n_reports=4, splits=("test",), short_row=4, k=2)
    ecg = 0.01 * np.random.default_rng(0).normal(size=(RECORDS, 12, 5000)).astype(np.float32)
    ecg[:, :, 1000:1500] *= 50
    (folder / "records-00000.npy").unlink()
    write_records(folder, ecg)
    (folder / "reports.tiny.npz").unlink()
    write_reports(folder, [" ".join(report) for report in REPORTS], [3] * 4, REPORTS)
    return folder


@pytest.fixture
def files(tmp_path):
    """Findings, and where they are: fibrillation in the loud second, the block elsewhere, the infarct nowhere."""
    path = tmp_path / "findings.json"
    path.write_text(json.dumps(FINDINGS))
    with event_writer(tmp_path / "events.parquet", 500) as write:
        for record in range(RECORDS):
            write(f"test{record}", [Event("AFIB", 1000, 1500), Event("LBBB", 3000, 3250), Event("LBBB", 4000, 4250)])
    return ["--findings", path, "--events", tmp_path / "events.parquet"]


def run(checkpoint, directory, out, *options):
    arguments = ["--checkpoint", checkpoint, "--manifest", directory, "--results", out, "--bootstrap", 40, *options]
    assert main([str(argument) for argument in arguments]) == 0
    return read_result(out / f"grounding-{directory.name}")


def test_command_measures_where_sentences_look(checkpoint, directory, files, seen, tmp_path, capsys):
    stored = run(checkpoint, directory, tmp_path / "out", "--batch-size", 5, "--figures", 0, *files)
    result, metrics, single = stored.result, stored.result.metrics, stored.result.per_class
    assert seen[0] == [REPORTS[0], REPORTS[1], REPORTS[2], REPORTS[3], REPORTS[0]] and len(seen) == 3
    # Report 0 names the fibrillation first, report 1 the block second, report 2 denies it, report 3 names both in one sentence.
    assert {name: entry["positives"] for name, entry in result.per_class.items()} == {"AFIB": 6, "LBBB": 6}
    assert (result.kind, result.n_records, result.n_subjects) == ("grounding", 9, 6)
    assert single["AFIB"]["pointing"] == 1 and single["AFIB"]["iou"] == 1
    assert single["AFIB"]["pointing|random"] == pytest.approx((1 + single["AFIB"]["pointing|uniform"]) / 2)
    # 10 of 100 steps, in the short recording, whose report begins with the fibrillation, of 70.
    assert single["AFIB"]["pointing|uniform"] == pytest.approx((5 * 0.1 + 10 / 70) / 6)
    # For report 1 attention is even, for report 3 it is at the fibrillation.
    assert single["LBBB"]["pointing"] == pytest.approx(0.1 / 2) and single["LBBB"]["pointing|uniform"] == pytest.approx(0.1)
    assert metrics["pointing"] == pytest.approx((6 + 0.3) / 12)
    low, high = result.intervals["pointing/LBBB"]
    assert low <= single["LBBB"]["pointing"] <= high
    expected = "12 pairs of a sentence and a finding that it names, in 9 records; 6 of them from reports of a single sentence."
    assert result.notes[0] == expected
    printed = capsys.readouterr().out
    assert "AFIB (6 sentences): It points" in printed and "LBBB (6 sentences): It does not point" in printed
    assert (tmp_path / "out" / "grounding.csv").is_file() and not read_examples(stored)


def test_figures_are_kept_and_shown(checkpoint, directory, files, seen, tmp_path):
    pytest.importorskip("matplotlib", reason="figures need the extra 'viz'")
    stored = run(checkpoint, directory, tmp_path / "out", "--figures", 2, *files)
    first, second = read_examples(stored)
    # Those with most to see: report 3 names two findings. Of equal ones the first.
    assert (first.record_id, second.record_id) == ("test3", "test7")
    (sentence,) = first.sentences
    assert sentence.text == REPORTS[3][0] and list(sentence.events) == [(1000, 1500), (3000, 3250), (4000, 4250)]
    assert len(sentence.weights) == 100 and first.samples_per_step == STEP
    manifest = Manifest.open(directory, "test")
    expected = RecordStore(manifest.store_root).read(manifest.shard[3:4], manifest.row[3:4])[0]
    np.testing.assert_array_equal(first.ecg, expected)
    svg = (stored.folder / "example-1.svg").read_text()
    assert "Recording test3" in svg and BLOCK in svg
    assert report_page(["--runs", str(tmp_path / "out"), "--dest", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "report.html").read_text()
    assert "Recording test7" in page and "pointing game, uniform attention" in page
    with open(stored.folder / "examples.npz", "r+b") as handle:
        handle.truncate(300)
    with pytest.raises(DataError, match="examples.npz"):
        read_examples(stored)


def test_what_cannot_be_evaluated_is_refused(checkpoint, directory, files, seen, tmp_path, monkeypatch):
    findings, events = files[:2], files[2:]
    with pytest.raises(DataError, match=r"no event of the records .* findings MI \(kinds there: AFIB, LBBB\)"):
        (tmp_path / "other.json").write_text(json.dumps({"MI": FINDINGS["MI"]}))
        run(checkpoint, directory, tmp_path / "out", "--findings", tmp_path / "other.json", *events)
    with pytest.raises(DataError, match="nothing.parquet: no such file"):
        run(checkpoint, directory, tmp_path / "out", *findings, "--events", tmp_path / "nothing.parquet")
    with event_writer(tmp_path / "short.parquet", 500) as write:
        write("test0", [Event("AFIB", 4, 6)])
    with pytest.raises(DataError, match="no sentence of .* names what lies somewhere in it"):
        run(checkpoint, directory, tmp_path / "out", *findings, "--events", tmp_path / "short.parquet")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DataError, match="figures need matplotlib"):
        run(checkpoint, directory, tmp_path / "out", *files)
    assert not (tmp_path / "out").exists()


def test_a_system_that_does_not_point_is_refused(checkpoint, directory, files, tmp_path):
    with pytest.raises(DataError, match="this model cannot point to parts of a recording; systems that can: ") as error:
        run(checkpoint, directory, tmp_path / "out", "--figures", 0, *files)
    assert not set(str(error.value).rpartition(": ")[2].split(", ")) & {"cmelt", "merl"}
