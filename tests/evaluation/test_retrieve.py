"""``python -m cmelt_plugin.evaluation.retrieve``."""

import csv

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from labelled_sets import write_checkpoint, write_tokenizer
from planted_values import planted, write_planted, write_planted_teacher
from tiny import write_manifest

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.records import embed_records
from cmelt_plugin.evaluation.metrics.retrieval import retrieval_directions, retrieval_metrics
from cmelt_plugin.evaluation.result_files import read_result
from cmelt_plugin.evaluation.retrieve import main
from cmelt_plugin.models.inference import pretrained as pretrained_module
from cmelt_plugin.models.inference.pretrained import load_pretrained
from preprocess import tokenizer as tokenizer_command


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def checkpoint(tokenizer, tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("model") / "checkpoint.pt", tokenizer)


def with_reports(directory, without=()):
    """24 records over 6 reports; ``without``: rows that have none."""
    write_manifest(directory, n_records=24, n_reports=6, splits=("test",))
    (directory / "reports.tiny.npz").unlink()
    meta = pq.read_table(directory / "test.meta.parquet")
    ids = meta["report_id"].to_numpy().copy()
    ids[list(without)] = -1
    column = meta.schema.get_field_index("report_id")
    pq.write_table(meta.set_column(column, meta.schema.field(column), pa.array(ids)), directory / "test.meta.parquet")
    return directory


def run(checkpoint, directory, out, *options):
    arguments = ["--checkpoint", checkpoint, "--manifest", directory, "--results", out, *options]
    assert main([str(argument) for argument in arguments]) == 0
    return read_result(out / f"retrieval-{directory.name}").result


def test_command_leaves_out_records_without_a_report(checkpoint, tokenizer, tmp_path, capsys):
    directory = with_reports(tmp_path / "m", without=[2, 9])
    result = run(checkpoint, directory, tmp_path / "out", "--bootstrap", 50)
    assert (result.kind, result.n_records, result.n_subjects, result.split) == ("retrieval", 22, 12, "test")
    assert result.notes[0] == "22 records with 6 distinct reports; 2 records without a report are left out."
    assert result.notes[0] in capsys.readouterr().out

    pretrained = load_pretrained(checkpoint)
    rows = [row for row in range(24) if row not in (2, 9)]
    ecg = embed_records(pretrained.model, Manifest.open(directory, "test")).select(torch.tensor(rows))
    text = pretrained.embed_text([f"report number {report}" for report in range(6)])
    report = torch.tensor([row % 6 for row in rows])
    expected = retrieval_metrics(retrieval_directions(pretrained.model, ecg, text, report))
    assert result.metrics == pytest.approx(expected)
    assert {"ecg_to_text_r10", "distinct_text_to_ecg_r1", "text_to_ecg_median_rank", "ecg_to_text_r5_chance"} <= set(expected)
    low, high = result.intervals["text_to_ecg_r5"]
    assert low <= result.metrics["text_to_ecg_r5"] <= high
    with open(tmp_path / "out" / "retrieval.csv", newline="", encoding="utf-8") as handle:
        table = list(csv.DictReader(handle))
    assert [(row["gallery"], row["direction"], row["queries"], row["items"]) for row in table] == [
        ("all pairs", "ecg → text", "22", "22"),
        ("all pairs", "text → ecg", "22", "22"),
        ("distinct reports", "ecg → text", "22", "6"),
        ("distinct reports", "text → ecg", "6", "22"),
    ]
    assert table[0]["R@10"] == f"{100 * expected['ecg_to_text_r10']:.2f}"
    assert table[0]["R@10, chance"] == f"{100 * expected['ecg_to_text_r10_chance']:.2f}"

    # Token ids made beforehand give the same, without a tokenizer.
    tokenizer_command.main(["--manifest", str(directory), "--tokenizer", str(tokenizer)])
    again = run(checkpoint, directory, tmp_path / "again", "--bootstrap", 0)
    assert again.metrics == pytest.approx(expected)

    half = run(checkpoint, directory, tmp_path / "half", "--bootstrap", 0, "--bf16")
    assert (again.settings["precision"], half.settings["precision"]) == ("float32", "bf16")
    assert half.metrics["ecg_to_text_r5"] == pytest.approx(expected["ecg_to_text_r5"], abs=0.1)


def test_the_score_is_chosen_recorded_and_not_mixed_up_in_the_cache(checkpoint, tmp_path):
    """C-MELT's embeddings are of unit length for cosines alone, under the same weights."""
    directory = with_reports(tmp_path / "m")
    options = ["--bootstrap", 0, "--cache", tmp_path / "cache"]
    results = {
        name: run(checkpoint, directory, tmp_path / name, *options, *chosen)
        for name, chosen in {"usual": [], "cosine": ["--score", "cosine"], "product": ["--score", "product"]}.items()
    }
    assert {name: result.settings["score"] for name, result in results.items()} == {
        "usual": "cosine",
        "cosine": "cosine",
        "product": "product",
    }
    assert results["usual"].metrics == results["cosine"].metrics
    pretrained = load_pretrained(checkpoint, score="product")
    ecg = embed_records(pretrained.model, Manifest.open(directory, "test"))
    text = pretrained.embed_text([f"report number {report}" for report in range(6)])
    assert (text.mean.norm(dim=1) - 1).abs().min() > 0.1
    expected = retrieval_metrics(retrieval_directions(pretrained.model, ecg, text, torch.arange(24) % 6))
    assert results["product"].metrics == pytest.approx(expected)
    assert results["product"].metrics != results["cosine"].metrics
    with pytest.raises(DataError, match="score must be one of cosine, product, not 'distance'"):
        run(checkpoint, directory, tmp_path / "out", "--score", "distance")


def test_command_names_what_is_missing(checkpoint, tmp_path):
    directory = with_reports(tmp_path / "m", without=range(24))
    with pytest.raises(DataError, match="0 distinct reports"):
        run(checkpoint, directory, tmp_path / "out")
    with pytest.raises(DataError, match="valid.tsv"):
        run(checkpoint, directory, tmp_path / "out", "--split", "valid")


def test_a_teacher_adds_its_echocardiograms(tmp_path, monkeypatch, capsys):
    words = planted(lambda text: [round(float(text.split()[-1]))])
    monkeypatch.setattr(pretrained_module, "load_pretrained", lambda *arguments: words)
    values = np.array([10.0, 20, 20, 35, np.nan, 60, 80, 95])
    directory = write_planted(tmp_path / "m", {"test": values}, reports=True)
    teacher = write_planted_teacher(tmp_path / "teacher", [10, 20, 35, 60, 80])  # 95 is not in it
    result = run("planted.pt", directory, tmp_path / "out", "--teacher", teacher, "--bootstrap", 50)
    assert result.n_records == 7 and result.settings["between"] == ["ecg", "text"]  # as without a teacher
    echo = read_result(tmp_path / "out" / "retrieval-m-ecg-echo")
    assert echo.result.n_records == 6 and echo.result.metrics["ecg_to_echo_r1"] == echo.result.metrics["echo_to_ecg_r1"] == 1
    assert echo.result.metrics["echo_to_ecg_r1_chance"] == pytest.approx((4 * 1 / 6 + 2 * 2 / 6) / 6)  # 20 is there twice
    assert "1 records name none; 1 name one that the sidecar does not hold" in echo.result.notes[0]
    record_id, names, ranks = echo.arrays("ranks.npz", ("record_id", "names", "ranks"), "")
    assert record_id.tolist() == [f"test{i}" for i in (0, 1, 2, 3, 5, 6)]
    assert names.tolist() == ["ecg_to_echo", "echo_to_ecg"] and ranks.tolist() == [[1] * 6] * 2
    both = read_result(tmp_path / "out" / "retrieval-m-text-echo").result
    assert both.n_records == 6 and both.metrics["text_to_echo_r1"] == 1 and "echo_to_text_r5" in both.intervals
    with open(tmp_path / "out" / "retrieval.csv", newline="", encoding="utf-8") as handle:
        table = [(row["gallery"], row["direction"], row["items"]) for row in csv.DictReader(handle)]
    assert len(table) == 12 and ("distinct echoes", "ecg → echo", "5") in table and ("all pairs", "echo → text", "6") in table
    assert "ECGs and reports and echoes" in capsys.readouterr().out

    silent = write_planted(tmp_path / "silent", {"test": values})  # no reports
    with pytest.raises(DataError, match="0 distinct reports"):
        run("planted.pt", silent, tmp_path / "none")
    assert (
        main([*map(str, ["--checkpoint", "x", "--manifest", silent, "--results", tmp_path / "none", "--teacher", teacher])])
        == 0
    )
    assert [path.name for path in (tmp_path / "none").glob("retrieval-*")] == ["retrieval-silent-ecg-echo"]
    with pytest.raises(DataError, match="1 echocardiograms of .*, retrieval needs two"):
        run("planted.pt", silent, tmp_path / "few", "--teacher", write_planted_teacher(tmp_path / "one", [60]))
