"""preprocess/n3s.py from texts to sidecar: embedders, splits, diagnostics, staleness, and going on after kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from report_texts import make_reports, write_directory

from cmelt_plugin.data.batches.negatives import NegativeTable
from cmelt_plugin.data.directory.checksums import read_checksums
from cmelt_plugin.data.directory.replacing import write_checksums
from cmelt_plugin.data.text.reports import write_reports
from cmelt_plugin.errors import DataError
from preprocess import n3s
from preprocess.text.t5_folder import train_sentencepiece, write_encoder, write_tokenizer
from preprocess.text.text_embedding import EncoderEmbedder, TfidfEmbedder

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """A tiny T5 folder with random weights."""
    folder = tmp_path_factory.mktemp("tiny-t5")
    size = write_tokenizer(folder, train_sentencepiece(make_reports(300), 150))
    write_encoder(folder, "tiny", size, seed=0)
    return folder


def run(directory: Path, *options: str, embedder: str | Path = "tfidf", strategy: str = "farthest") -> int:
    return n3s.main(
        ["--manifest", str(directory), "--embedder", str(embedder), "--strategy", strategy, "--device", "cpu", *options]
    )


def test_farthest_sidecar_holds_the_farthest_reports(tmp_path: Path) -> None:
    texts = write_directory(tmp_path, 80)
    assert run(tmp_path, "--k", "5") == 0
    table = NegativeTable.load(tmp_path, "train")
    vectors = TfidfEmbedder()(texts)
    distance = 1 - vectors @ vectors.T
    np.fill_diagonal(distance, -np.inf)
    expected = np.sort(distance, axis=1)[:, ::-1][:, :5]
    np.testing.assert_allclose(np.take_along_axis(distance, table.neighbours, axis=1), expected, atol=1e-5)


@pytest.mark.parametrize("strategy", ["farthest", "balanced"])
def test_each_split_uses_its_own_reports_only(tmp_path: Path, strategy: str) -> None:
    in_train, in_valid = np.arange(0, 60), np.array([3, 3, 70, 71, 72, -1])
    write_directory(tmp_path, 80, {"train": in_train, "valid": in_valid})
    assert run(tmp_path, "--k", "8", strategy=strategy) == 0
    train, valid = NegativeTable.load(tmp_path, "train"), NegativeTable.load(tmp_path, "valid")
    assert (train.neighbours[60:] == -1).all() and set(np.unique(train.neighbours[:60])) <= set(range(60))
    used = [3, 70, 71, 72]
    assert valid.k == 3 and valid.info["k_requested"] == 8
    assert set(np.unique(valid.neighbours[used])) <= set(used)
    assert (np.delete(valid.neighbours, used, axis=0) == -1).all()
    assert valid.info["records"] == 5 and valid.info["unique_reports"] == 4


def test_numbers_and_examples_are_printed_and_kept(tmp_path: Path, capsys) -> None:
    texts = write_directory(tmp_path, 100)
    run(tmp_path, "--k", "200", strategy="balanced")
    out = capsys.readouterr().out
    info = NegativeTable.load(tmp_path, "train").info
    assert "k reduced from 200 to 99" in out
    assert f"share of reports ever used as a negative  {info['share_used']:.3f}" in out
    assert f"held-out records  {info['text_only_auc']:.3f}" in out
    assert f"mean cosine distance  {info['mean_distance']:.3f}" in out
    assert f"example: {info['examples'][0]['report']}" in out
    assert all(negative in texts for example in info["examples"] for negative in example["negatives"])
    assert f"negative: {info['examples'][0]['negatives'][0]}" in out
    expected = {"strategy": "balanced", "embedder": "tfidf", "metric": "cosine distance", "k": 99, "seed": 1}
    assert {key: info[key] for key in expected} == expected


def test_balanced_gives_less_away_than_farthest(tmp_path: Path) -> None:
    write_directory(tmp_path, 250)
    numbers = {}
    for strategy in ("farthest", "balanced"):
        run(tmp_path, strategy=strategy)
        numbers[strategy] = NegativeTable.load(tmp_path, "train").info
    assert numbers["farthest"]["marginal_auc"] > 0.7
    assert numbers["balanced"]["marginal_auc"] < 0.6
    assert numbers["balanced"]["text_only_auc"] < 0.55
    assert numbers["balanced"]["mean_distance"] > numbers["balanced"]["random_mean_distance"] + 0.03


def test_finished_sidecar_is_up_to_date_until_something_changes(tmp_path: Path, capsys) -> None:
    write_directory(tmp_path, 30)
    run(tmp_path, "--k", "4")
    path = tmp_path / "train.n3s.npy"
    before = path.stat().st_mtime_ns
    capsys.readouterr()
    assert run(tmp_path, "--k", "4") == 0
    assert capsys.readouterr().out == "train: up to date\n"
    assert path.stat().st_mtime_ns == before
    run(tmp_path, "--k", "4", "--overwrite")
    assert path.stat().st_mtime_ns != before
    capsys.readouterr()
    run(tmp_path, "--k", "4", strategy="balanced")
    assert "done again with other settings (strategy)" in capsys.readouterr().out


def test_changed_reports_make_the_sidecar_stale_and_are_embedded_anew(tmp_path: Path, capsys) -> None:
    texts = write_directory(tmp_path, 30)
    run(tmp_path, "--k", "4")
    old = NegativeTable.load(tmp_path, "train").neighbours.copy()
    write_reports(tmp_path, texts[::-1], np.ones(30))
    with pytest.raises(DataError, match="stale, reports.parquet"):
        NegativeTable.load(tmp_path, "train")
    assert run(tmp_path, "--k", "4") == 0
    assert "done again, since" in capsys.readouterr().out
    assert (NegativeTable.load(tmp_path, "train").neighbours != old).any()


def test_splits_without_two_reports_are_skipped_and_none_is_an_error(tmp_path: Path, capsys) -> None:
    write_directory(tmp_path, 20, {"train": np.arange(20), "valid": np.array([4, 4])})
    assert run(tmp_path) == 0
    assert "valid: skipped, 1 unique report(s)" in capsys.readouterr().out
    with pytest.raises(DataError, match="valid.n3s.npy: no such file"):
        NegativeTable.load(tmp_path, "valid")
    with pytest.raises(DataError, match="no split has two different reports"):
        run(tmp_path, "--splits", "valid")
    with pytest.raises(DataError, match="other.meta.parquet: no such file"):
        run(tmp_path, "--splits", "other")


def test_meta_that_names_unknown_reports_is_refused(tmp_path: Path) -> None:
    write_directory(tmp_path, 20)
    write_reports(tmp_path, make_reports(10), np.ones(10))
    with pytest.raises(DataError, match="report_id 0 to 19, but reports.parquet has 10"):
        run(tmp_path)


def test_embedding_of_a_text_ignores_its_neighbours_padding(encoder: Path) -> None:
    texts = make_reports(40)
    together = EncoderEmbedder(str(encoder), "cpu", batch=40)(texts)
    alone = EncoderEmbedder(str(encoder), "cpu", batch=1)(texts)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_embedding_is_the_mean_of_the_real_tokens_hidden_states(encoder: Path) -> None:
    import torch

    embedder = EncoderEmbedder(str(encoder), "cpu")
    text = make_reports(40)[-1]
    ids = torch.tensor([embedder.tokenizer(text)["input_ids"]])
    with torch.inference_mode():
        mean = embedder.model(input_ids=ids).last_hidden_state[0].mean(dim=0).numpy()
    np.testing.assert_allclose(embedder(["sinus rhythm", text])[1], mean / np.linalg.norm(mean), atol=1e-5)


def test_tfidf_of_tiny_and_odd_corpora() -> None:
    vectors = TfidfEmbedder()(["sinus rhythm", "atrial flutter", "", "sinus rhythm"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0, 1], atol=1e-5)
    assert vectors[0] @ vectors[3] == pytest.approx(1, abs=1e-5)
    assert TfidfEmbedder()(["a", "b"]).shape[0] == 2
    with pytest.raises(DataError, match="tfidf"):
        TfidfEmbedder()(["", ""])


def test_unloadable_embedder_and_device_are_clear_errors(tmp_path: Path, encoder: Path) -> None:
    write_directory(tmp_path, 20)
    with pytest.raises(DataError, match="cannot be loaded"):
        run(tmp_path, embedder=tmp_path)
    with pytest.raises(DataError, match="device cuda:99"):
        EncoderEmbedder(str(encoder), "cuda:99")


KILLED_IN_STORE = """
import os, signal, sys
from preprocess import n3s
whole, stored = n3s._Cache.store, []
def store(self, number, array):
    if len(stored) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    whole(self, number, array)
    stored.append(number)
n3s._Cache.store = store
n3s.main(sys.argv[2:])
"""


@pytest.mark.parametrize(("strategy", "n_stored"), [("farthest", 3), ("balanced", 12)])
def test_killed_run_goes_on_and_ends_the_same(tmp_path: Path, encoder: Path, monkeypatch, strategy: str, n_stored: int) -> None:
    """10 embedding blocks of 16 reports, then the blocks of negatives; killed once in each."""
    directories = [tmp_path / "whole", tmp_path / "killed"]
    for directory in directories:
        write_directory(directory, 160)
    options = ["--block", "16", "--k", "8"]
    run(directories[0], *options, embedder=encoder, strategy=strategy)

    arguments = ["--manifest", str(directories[1]), "--embedder", str(encoder), "--strategy", strategy, *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_IN_STORE, str(n_stored), *arguments, "--device", "cpu"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(list((directories[1] / n3s.CACHE).rglob("*.npy"))) == n_stored
    assert not (directories[1] / "train.n3s.json").exists()

    stored = []
    whole_store = n3s._Cache.store
    monkeypatch.setattr(
        n3s._Cache, "store", lambda self, number, array: (stored.append(number), whole_store(self, number, array))
    )
    assert run(directories[1], *options, embedder=encoder, strategy=strategy) == 0
    in_all = {"farthest": 10 + 10, "balanced": 10 + 5}[strategy]
    assert len(stored) == in_all - n_stored
    arrays = [(directory / "train.n3s.npy").read_bytes() for directory in directories]
    assert arrays[0] == arrays[1]


def test_damaged_cache_blocks_are_computed_again(tmp_path: Path, encoder: Path) -> None:
    write_directory(tmp_path, 60)
    run(tmp_path, "--block", "16", "--k", "4", embedder=encoder)
    before = (tmp_path / "train.n3s.npy").read_bytes()
    blocks = sorted((tmp_path / n3s.CACHE).rglob("*.npy"))
    assert len(blocks) == 4
    blocks[0].write_bytes(blocks[0].read_bytes()[:-8])
    blocks[1].write_bytes(b"")
    (tmp_path / "train.n3s.json").unlink()
    run(tmp_path, "--block", "16", "--k", "4", embedder=encoder)
    assert (tmp_path / "train.n3s.npy").read_bytes() == before


def test_command_line_prints_one_line_and_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "preprocess" / "n3s.py"), "--manifest", str(tmp_path)]
        + ["--embedder", "tfidf", "--strategy", "farthest"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_an_approximate_index_is_described_and_replaced(tmp_path: Path, capsys) -> None:
    write_directory(tmp_path, 120)
    assert run(tmp_path, "--k", "5", "--index", "ivf", "--nlist", "8", "--nprobe", "8") == 0
    info = NegativeTable.load(tmp_path, "train").info
    assert info["index"] == "ivf" and info["recall"] == 1.0 and info["nprobe"] == 8  # every list is looked through
    assert "recall of the farthest  1.000" in capsys.readouterr().out
    assert run(tmp_path, "--k", "5") == 0
    assert "done again with other settings (metric)" in capsys.readouterr().out
    assert NegativeTable.load(tmp_path, "train").info["metric"] == "cosine distance"
    with pytest.raises(DataError, match="of the farthest strategy"):
        run(tmp_path, "--index", "ivf", strategy="balanced")


def test_what_a_killed_run_was_writing_is_removed(tmp_path: Path) -> None:
    write_directory(tmp_path, 40)
    assert run(tmp_path, "--k", "4") == 0
    (cache,) = (path for path in (tmp_path / n3s.CACHE).iterdir() if path.name.startswith("embeddings"))
    leftover = cache / ".00001.0123abcd.tmp.npy"
    leftover.write_bytes(b"half")
    for path in [*cache.glob("0*.npy"), *tmp_path.glob("*.n3s.*")]:
        path.unlink()
    assert run(tmp_path, "--k", "4") == 0 and not leftover.exists()


def test_a_run_killed_before_its_last_steps_is_brought_to_its_end(tmp_path: Path, monkeypatch) -> None:
    """Negatives that are written but not listed, and a cache that nobody needs any more."""
    write_directory(tmp_path, 40)
    write_checksums(tmp_path, {})
    assert run(tmp_path, "--k", "4", "--block", "8") == 0
    whole = read_checksums(tmp_path)
    assert {"train.n3s.npy", "train.n3s.json"} <= set(whole)
    for path in tmp_path.glob("*.n3s.*"):
        path.unlink()
    monkeypatch.setattr(n3s._Cache, "remove", lambda self: None)
    assert run(tmp_path, "--k", "4", "--block", "8") == 0
    write_checksums(tmp_path, {})
    monkeypatch.undo()
    assert list((tmp_path / n3s.CACHE).glob("train-*"))
    assert run(tmp_path, "--k", "4", "--block", "8") == 0
    assert read_checksums(tmp_path) == whole
    assert not list((tmp_path / n3s.CACHE).glob("train-*"))


@pytest.mark.parametrize("split", ["../m/train", "a/b", "", "/"])
def test_paths_are_no_splits(tmp_path: Path, split) -> None:
    write_directory(tmp_path, 20)
    with pytest.raises(DataError, match="not the name of a split"):
        run(tmp_path, "--splits", split)
