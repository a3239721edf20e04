"""Ranks and chance levels of retrieval, and ``python -m cmelt_plugin.evaluation.retrieve``."""

import csv

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_sets import write_checkpoint, write_tokenizer
from tiny import write_manifest

from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.metrics.ranks import Direction, figures, recall_intervals, retrieval_directions
from cmelt_plugin.evaluation.metrics.recall import chance_recall, retrieval_figures
from cmelt_plugin.evaluation.result_files import read_result
from cmelt_plugin.evaluation.retrieve import main
from cmelt_plugin.models.pretrained import load_pretrained
from examples.demo.distinct_retrieval import distinct_retrieval
from preprocess import tokenizer as tokenizer_command


@st.composite
def paired(draw):
    u = draw(st.integers(2, 6))
    report = [*range(u), *draw(st.lists(st.integers(0, u - 1), max_size=12))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ecg = torch.from_numpy(rng.normal(size=(len(report), 4)))
    return ecg, torch.from_numpy(rng.normal(size=(u, 4))), torch.tensor(report)


@given(paired())
@settings(deadline=None)
def test_ranks_against_sorting(pair):
    ecg, text, report = pair
    n, u = len(ecg), len(text)
    scores = (ecg @ text.T).numpy()
    of = report.numpy()
    expected = {
        ("pairs", "ecg_to_text"): [[scores[i, of[j]] for j in range(n)] for i in range(n)],
        ("pairs", "text_to_ecg"): [[scores[j, of[i]] for j in range(n)] for i in range(n)],
        ("distinct", "ecg_to_text"): [[scores[i, t] for t in range(u)] for i in range(n)],
        ("distinct", "text_to_ecg"): [[scores[j, t] for j in range(n)] for t in range(u)],
    }
    items = {
        ("pairs", "ecg_to_text"): (of, of),
        ("pairs", "text_to_ecg"): (of, of),
        ("distinct", "ecg_to_text"): (of, np.arange(u)),
        ("distinct", "text_to_ecg"): (np.arange(u), of),
    }
    for direction in retrieval_directions(ecg, text, report):
        key = direction.gallery, direction.name
        query_report, gallery_report = items[key]
        for query, row in enumerate(expected[key]):
            order = np.argsort(-np.array(row), kind="stable")
            right = gallery_report[order] == query_report[query]
            assert direction.ranks[query] == np.flatnonzero(right)[0] + 1
            assert direction.right[query] == right.sum() and direction.gallery_size == len(row)
        assert direction.median_rank == np.median(direction.ranks)


@given(paired(), st.sampled_from([1, 2, 5, 10]))
@settings(deadline=None)
def test_agrees_with_validation_and_with_the_demo(pair, k):
    ecg, text, report = pair
    directions = {(each.gallery, each.name): each for each in retrieval_directions(ecg, text, report)}
    of_pairs = retrieval_figures(ecg, text[report], report, depths=(k,))
    distinct = distinct_retrieval(ecg, text, report, k)
    for name in ("ecg_to_text", "text_to_ecg"):
        pairs = directions["pairs", name]
        assert pairs.recall(k) == pytest.approx(of_pairs[f"{name}_r{k}"])
        assert pairs.chance_recall(k) == pytest.approx(chance_recall(report.numpy(), k))
        assert directions["distinct", name].recall(k) == pytest.approx(distinct[name].recall)
        assert directions["distinct", name].chance_recall(k) == pytest.approx(distinct[name].chance)


def test_chance_is_what_shuffling_gives():
    """Three queries with 1, 2 and 4 right items among 9, by 20,000 random orders."""
    right = np.array([1, 2, 4])
    rng = np.random.default_rng(0)
    first = np.stack([np.argmax(rng.permuted(np.tile(np.arange(9) < m, (20000, 1)), axis=1), axis=1) + 1 for m in right])
    direction = Direction("pairs", "ecg_to_text", np.ones(3, dtype=int), right, 9)
    for k in (1, 3, 9, 20):
        assert direction.chance_recall(k) == pytest.approx(np.mean(first <= k), abs=0.01)
    assert direction.chance_median_rank == np.median(first)


def test_chance_median_of_one_right_item_is_the_middle():
    assert Direction("distinct", "ecg_to_text", np.ones(2), np.ones(2, dtype=int), 10).chance_median_rank == 5
    assert Direction("distinct", "ecg_to_text", np.ones(2), np.ones(2, dtype=int), 11).chance_median_rank == 6
    assert Direction("distinct", "ecg_to_text", np.ones(1), np.array([1]), 1).chance_median_rank == 1


def test_intervals_resample_whole_subjects():
    """Two subjects, one always right, one never: a resample has 0, 1/2 or all, weighted by their records."""
    ranks = np.array([1, 1, 1, 50])
    direction = Direction("pairs", "ecg_to_text", ranks, np.ones(4, dtype=int), 100)
    found = recall_intervals([direction], ["a", "a", "a", "b"], n=400, seed=0)
    assert found["ecg_to_text_r1"] == (0.0, 1.0)
    one = recall_intervals([direction], ["a"] * 4, n=50, seed=0)
    assert one["ecg_to_text_r10"] == (0.75, 0.75)


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

    from cmelt_plugin.data.directory.manifest import Manifest
    from cmelt_plugin.evaluation.embedding.records import embed_records

    pretrained = load_pretrained(checkpoint)
    rows = [row for row in range(24) if row not in (2, 9)]
    ecg = torch.from_numpy(embed_records(pretrained.model, Manifest.open(directory, "test"))[rows])
    text = pretrained.encode_text([f"report number {report}" for report in range(6)])
    expected = figures(retrieval_directions(ecg, text, torch.tensor([row % 6 for row in rows])))
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


def test_command_names_what_is_missing(checkpoint, tmp_path):
    directory = with_reports(tmp_path / "m", without=range(24))
    with pytest.raises(DataError, match="0 distinct reports"):
        run(checkpoint, directory, tmp_path / "out")
    with pytest.raises(DataError, match="valid.tsv"):
        run(checkpoint, directory, tmp_path / "out", "--split", "valid")
