"""What the benchmarks work on, and the baselines for data."""

from __future__ import annotations

import numpy as np

from benchmarks.cases.n3s import farthest_torch, wrong_rows
from benchmarks.cases.startup import write_large_manifest
from benchmarks.harness import material
from benchmarks.naive.manifest import read_lines
from benchmarks.naive.records import read_mat_files, write_mat_files
from benchmarks.systems.cmelt.system import SYSTEM
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.text.tokens import TokenTable


def test_reports_are_different_and_normalised() -> None:
    from cmelt_plugin.data.text.reports import normalise_report

    texts = material.report_texts(300)
    assert len(set(texts)) == 300
    assert [normalise_report(text) for text in texts] == texts


def test_several_records_may_lie_in_the_same_row(tmp_path) -> None:
    shard, row = material.write_store(tmp_path, 10, rows_per_shard=2, stored=4)
    assert shard.tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 0, 0]
    assert row.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
    ecg = RecordStore(tmp_path).read(shard, row)
    np.testing.assert_allclose(ecg[:4], material.signals(4), atol=5.1e-4)
    np.testing.assert_array_equal(ecg[4:8], ecg[:4])


def test_mat_files_hold_what_was_written(tmp_path) -> None:
    ecg = material.signals(3)
    paths = write_mat_files(tmp_path, ecg)
    np.testing.assert_array_equal(read_mat_files(paths[::-1]), ecg[::-1])


def test_a_manifest_trains(tmp_path) -> None:
    text = material.write_manifest(tmp_path, n_records=6, n_reports=5, splits=("train", "valid"), k=3, stored=4)
    tokens = TokenTable.load(tmp_path / f"reports.{material.TAG}.npz", tmp_path / "reports.parquet")
    assert tokens.info["vocab_size"] == text.vocab_size
    dataset = SYSTEM.dataset(tmp_path, "valid", tokens, SYSTEM.inputs())
    batch = dataset.collater(list(range(6)))
    assert batch["net_input"]["ecg"].shape == (6, 12, 5000)
    assert int(batch["aligned"].sum()) == 3


def test_the_large_manifest_opens_although_its_shards_take_no_room(tmp_path) -> None:
    write_large_manifest(tmp_path, n_records=5000, n_reports=40)
    manifest = Manifest.open(tmp_path, "train")
    assert len(manifest) == 5000 == len(manifest.report_ids())
    assert (manifest.shard[-1], manifest.row[-1]) == (1, 5000 - 4096 - 1)
    shards = list(tmp_path.glob("records-*.npy"))
    assert sum(path.stat().st_size for path in shards) > 5000 * 120_000
    assert sum(path.stat().st_blocks for path in shards) * 512 < 10_000_000
    names, sizes = read_lines(tmp_path / "train.tsv")
    assert names[4096] == "./records-00001.npy:0" and len(names) == 5000 and set(sizes) == {5000}


def test_exact_search_in_torch_is_right_and_wrong_rows_are_noticed() -> None:
    embeddings = material.unit_vectors(90, 8)
    table = farthest_torch(embeddings, 5, "cpu")
    assert wrong_rows(embeddings, table) == 0
    table[0] = np.argsort(-embeddings @ embeddings[0])[1:6]
    assert wrong_rows(embeddings, table) == 1
