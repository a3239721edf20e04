"""``python -m cmelt_plugin.evaluation.generate`` with a model that writes by a rule."""

from __future__ import annotations

import csv
import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pretrained_files import TEXTS, write_checkpoint, write_tokenizer_folder
from tiny import write_manifest

from cmelt_plugin.data.text.reports import write_reports
from cmelt_plugin.data.text.tokenizer import load_tokenizer
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.generate.__main__ import main
from cmelt_plugin.evaluation.report.__main__ import main as report_page
from cmelt_plugin.evaluation.result_files import read_result
from cmelt_plugin.models.cmelt.model import CMELT

RECORDS, REPORTS = 24, len(TEXTS)
WRITTEN, LAST = TEXTS[1], TEXTS[-1]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer_folder(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "checkpoint.pt"
    write_checkpoint(path, tokenizer)
    return path


@pytest.fixture
def writer(tokenizer, monkeypatch):
    """C-MELT, taught to write one text for loud recordings and nothing for others; the calls."""
    for library in ("nltk", "rouge_score", "sacrebleu"):
        pytest.importorskip(library, reason="metrics of wording need the extra 'generation'")
    ids = load_tokenizer(str(tokenizer))(WRITTEN)["input_ids"]
    calls = []

    class Writer(CMELT):
        def generate(self, ecg, n_samples=None, beams=1, max_tokens=128):
            calls.append((len(ecg), beams, max_tokens, torch.is_grad_enabled(), self.training))
            return [ids if loud else [] for loud in ecg.abs().mean(dim=(1, 2)) > 0]

    build = CMELT.build_model.__func__
    monkeypatch.setattr(CMELT, "build_model", lambda cfg, task=None: build(Writer, cfg, task))
    return calls


@pytest.fixture
def directory(tmp_path):
    """24 records over 5 reports, of the test split two without one; in train most have the last one."""
    folder = write_manifest(tmp_path / "m", n_records=RECORDS, n_reports=REPORTS, splits=("train", "test"), labels=True)
    for name in ("reports.tiny.npz", "prompts.tiny.npz"):
        (folder / name).unlink()
    write_reports(folder, TEXTS, [RECORDS] * REPORTS)
    for split, without, last in (("train", [], [0, 1]), ("test", [2, 9], [])):
        meta = pq.read_table(folder / f"{split}.meta.parquet")
        ids = meta["report_id"].to_numpy().copy()
        ids[without], ids[last] = -1, REPORTS - 1
        column = meta.schema.get_field_index("report_id")
        pq.write_table(meta.set_column(column, meta.schema.field(column), pa.array(ids)), folder / f"{split}.meta.parquet")
    return folder


@pytest.fixture
def findings(tmp_path):
    path = tmp_path / "findings.json"
    path.write_text(json.dumps({"AFIB": ["atrial fibrillation"], "MI": ["inferior infarct"], "PVC": ["premature beat"]}))
    return path


def run(checkpoint, directory, out, *options):
    arguments = ["--checkpoint", checkpoint, "--manifest", directory, "--results", out, "--bootstrap", 30, *options]
    assert main([str(argument) for argument in arguments]) == 0
    return read_result(out / f"generation-{directory.name}").result


def test_command_writes_reports_metrics_and_baselines(checkpoint, directory, findings, writer, tmp_path, capsys):
    out = tmp_path / "out"
    result = run(checkpoint, directory, out, "--findings", findings, "--batch-size", 10, "--beams", 3, "--max-tokens", 9)
    assert writer == [(10, 3, 9, False, False), (10, 3, 9, False, False), (4, 3, 9, False, False)]
    assert (result.kind, result.n_records, result.n_subjects, result.split) == ("generation", 22, 12, "test")
    assert result.settings["beams"] == 3 and result.settings["findings"] == str(findings)
    assert result.notes[0] == "22 records with 5 distinct reports; 2 records without a report are left out."

    rows = [json.loads(line) for line in (out / "generation-m" / "reports.jsonl").read_text().splitlines()]
    chosen = [row for row in range(RECORDS) if row not in (2, 9)]
    assert [row["record_id"] for row in rows] == [f"test{row}" for row in chosen]
    assert [row["reference"] for row in rows] == [TEXTS[row % REPORTS] for row in chosen]
    assert {row["generated"] for row in rows} == {WRITTEN} and {row["most_frequent"] for row in rows} == {LAST}
    # Both splits hold the same recordings, so that the nearest one is the record itself.
    assert [row["nearest"] for row in rows] == [LAST if row < 2 else TEXTS[row % REPORTS] for row in chosen]
    assert len({row["random"] for row in rows}) > 2

    counts = Counter(row["reference"] for row in rows)
    hits, true = counts[WRITTEN], counts[WRITTEN] + counts[LAST]
    expected = {"exact": hits / 22, "fact_precision": hits / 22, "fact_recall": hits / true, "distinct": 1}
    expected.update({"fact_macro_f1": hits / (22 + hits), "exact|nearest": 20 / 22})
    assert result.per_class["AFIB"]["f1"] == pytest.approx(2 * hits / (22 + hits)) and result.per_class["MI"]["f1"] == 0.0
    assert result.per_class["MI"]["f1|most_frequent"] > 0 and not any("/" in name for name in result.metrics)
    for name, value in expected.items():
        assert result.metrics[name] == pytest.approx(value), name
    assert result.metrics["bleu|nearest"] > result.metrics["bleu"] > 0 and result.metrics["fact_f1|random"] < 1
    for name in ("bleu", "rouge_l", "meteor", "fact_f1", "fact_f1|random"):
        low, high = result.intervals[name]
        assert low <= result.metrics[name] <= high
    low, high = result.intervals["f1/AFIB"]
    assert low <= result.per_class["AFIB"]["f1"] <= high
    assert result.per_class["AFIB"]["positives"] == hits and result.excluded == ["PVC"]

    printed = capsys.readouterr().out
    assert "report of the nearest recording" in printed and "METEOR: " in printed and "| AFIB" in printed
    with open(out / "generation.csv", newline="", encoding="utf-8") as handle:
        table = list(csv.DictReader(handle))
    assert [row["report"] for row in table] == [
        *("ours", "most frequent report", "report of the nearest recording", "report of a random recording")
    ]
    assert table[0]["facts: F1"].startswith(f"{100 * result.metrics['fact_f1']:.2f} [")


def test_page_shows_table_and_texts(checkpoint, directory, findings, writer, tmp_path):
    run(checkpoint, directory, tmp_path / "out", "--findings", findings)
    assert report_page(["--runs", str(tmp_path / "out"), "--dest", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "report.html").read_text()
    assert "report generation" in page and "fact_f1" in page and "most frequent report" in page and WRITTEN in page
    (tmp_path / "out" / "generation-m" / "reports.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"reports.jsonl, line 1: damaged"):
        report_page(["--runs", str(tmp_path / "out"), "--dest", str(tmp_path / "page")])


def test_findings_come_from_the_directory_where_none_are_named(checkpoint, directory, writer, tmp_path):
    result = run(checkpoint, directory, tmp_path / "out")
    assert result.settings["findings"] == str(directory / "prompts.json") and set(result.per_class) == {"AFIB", "SR"}
    for name in ("prompts.json", "labels.json"):
        (directory / name).unlink()
    with pytest.raises(DataError, match="no class texts.*--findings"):
        run(checkpoint, directory, tmp_path / "out")


def test_what_cannot_be_evaluated_is_refused_before_anything_is_written(checkpoint, directory, writer, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="the baselines are reports of this split"):
        run(checkpoint, directory, tmp_path / "out", "--split", "train")
    (directory / "train.tsv").unlink()
    with pytest.raises(DataError, match="train.tsv: no such file"):
        run(checkpoint, directory, tmp_path / "out")
    assert not writer and not (tmp_path / "out").exists()


def test_a_system_that_writes_no_reports_is_refused(checkpoint, directory, tmp_path):
    for library in ("nltk", "rouge_score", "sacrebleu"):
        pytest.importorskip(library, reason="metrics of wording need the extra 'generation'")
    with pytest.raises(DataError, match="this model cannot write reports; systems that can: ") as error:
        run(checkpoint, directory, tmp_path / "out")
    able = set(str(error.value).rpartition(": ")[2].split(", "))
    assert not able & {"cmelt", "merl"} and not (tmp_path / "out").exists()
