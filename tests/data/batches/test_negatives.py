"""NegativeTable: the draw against the plain formula, and refusal of stale, foreign and damaged sidecars."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.data.batches.negatives import NegativeTable
from cmelt_plugin.errors import DataError

N, K = 20, 4


def neighbours() -> np.ndarray:
    table = (np.arange(N)[:, None] + 1 + np.arange(K)) % N
    table[3] = -1
    return table.astype(np.int32)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    pq.write_table(pa.table({"report_id": np.arange(N, dtype=np.int32)}), tmp_path / "reports.parquet")
    pq.write_table(pa.table({"report_id": np.zeros(5, dtype=np.int32)}), tmp_path / "train.meta.parquet")
    NegativeTable(neighbours(), {"strategy": "farthest"}).save(tmp_path, "train")
    return tmp_path


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(4, N - 1), st.floats(0, 1, exclude_max=True)), max_size=30))
def test_draw_follows_the_formula(pairs) -> None:
    table = NegativeTable(neighbours(), {})
    ids = np.array([pair[0] for pair in pairs], dtype=np.int64)
    u = np.array([pair[1] for pair in pairs], dtype=np.float64)
    expected = [neighbours()[i][int(x * K)] for i, x in pairs]
    drawn = table.draw(ids, u)
    assert drawn.tolist() == expected
    assert drawn.dtype == np.int32


def test_draw_is_uniform_over_the_row() -> None:
    u = np.random.default_rng(0).random(8000)
    drawn = NegativeTable(neighbours(), {}).draw(np.full(8000, 5), u)
    counts = np.bincount(drawn, minlength=N)[6:10]
    assert counts.sum() == 8000
    assert (abs(counts - 2000) < 200).all()


def test_draw_survives_a_float32_that_rounds_up_to_one() -> None:
    u = np.array([np.nextafter(np.float32(1), np.float32(0))], dtype=np.float32)
    assert NegativeTable(neighbours(), {}).draw(np.array([0]), u).tolist() == [4]


@pytest.mark.parametrize("report_id", [-1, N, 3])
def test_draw_refuses_reports_without_negatives(report_id: int) -> None:
    with pytest.raises(DataError):
        NegativeTable(neighbours(), {"split": "train"}).draw(np.array([0, report_id]), np.array([0.5, 0.5]))


def test_round_trip(directory: Path) -> None:
    table = NegativeTable.load(directory, "train")
    assert (table.neighbours == neighbours()).all()
    assert (table.k, len(table)) == (K, N)
    assert table.info["strategy"] == "farthest" and table.info["split"] == "train" and table.info["k"] == K


@pytest.mark.parametrize("name", ["reports.parquet", "train.meta.parquet"])
def test_stale_sidecar_is_refused(directory: Path, name: str) -> None:
    pq.write_table(pa.table({"report_id": np.arange(N + 1, dtype=np.int32)}), directory / name)
    with pytest.raises(DataError, match=f"stale, {name}") as caught:
        NegativeTable.load(directory, "train")
    assert "preprocess/n3s.py" in str(caught.value) and "train.n3s.npy" in str(caught.value)


def test_missing_damaged_and_foreign_sidecars_are_refused(directory: Path) -> None:
    with pytest.raises(DataError, match="valid.n3s.npy: no such file"):
        NegativeTable.load(directory, "valid")
    array, info = directory / "train.n3s.npy", directory / "train.n3s.json"
    whole, description = array.read_bytes(), info.read_text()
    array.write_bytes(whole[:-4])
    with pytest.raises(DataError, match="damaged"):
        NegativeTable.load(directory, "train")
    array.write_bytes(whole)
    info.write_text(description[:20])
    with pytest.raises(DataError, match="train.n3s.json"):
        NegativeTable.load(directory, "train")
    info.write_text("[]")
    with pytest.raises(DataError, match="format 1"):
        NegativeTable.load(directory, "train")
    info.write_text(json.dumps({**json.loads(description), "split": "valid"}))
    with pytest.raises(DataError, match="describes split 'valid'"):
        NegativeTable.load(directory, "train")
    info.write_text(description)
    assert len(NegativeTable.load(directory, "train")) == N


def test_array_of_another_run_is_refused(directory: Path) -> None:
    np.save(directory / "train.n3s.npy", neighbours()[:, ::-1].copy())
    with pytest.raises(DataError, match="not the array"):
        NegativeTable.load(directory, "train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.astype(np.int64), "expected int32"),
        (lambda a: a[:, :0], "expected int32"),
        (lambda a: np.where(a == 5, N, a).astype(np.int32), "outside"),
        (lambda a: np.where(a == 5, -1, a).astype(np.int32), "partly empty"),
        (lambda a: np.where(a < 0, 3, a).astype(np.int32), "own negative"),
    ],
)
def test_impossible_tables_are_refused(change, message: str) -> None:
    with pytest.raises(DataError, match=message):
        NegativeTable(change(neighbours()), {})


def test_a_loaded_table_draws_like_one_in_memory_in_any_process(directory: Path) -> None:
    rng = np.random.default_rng(0)
    ids, u = rng.integers(4, N, 200), rng.random(200)
    expected = NegativeTable(neighbours(), {}).draw(ids, u)
    loaded = NegativeTable.load(directory, "train")
    pickled = pickle.dumps(loaded)
    assert len(pickled) < 2000  # the place of the file, not its contents
    for table in (loaded, pickle.loads(pickled)):
        for asked in (ids, ids.astype(np.int32)):
            drawn = table.draw(asked, u)
            assert drawn.dtype == np.int32 and (drawn == expected).all()
        assert table.draw(ids[:0], u[:0]).dtype == np.int32
        assert (table.neighbours == neighbours()).all() and table.info == loaded.info
        with pytest.raises(DataError, match="report 3 does not occur in split train"):
            table.draw(np.array([3]), np.array([0.5]))


def test_an_array_in_fortran_order_is_read_too(directory: Path) -> None:
    NegativeTable(np.asfortranarray(neighbours()), {}).save(directory, "train")
    assert (NegativeTable.load(directory, "train").neighbours == neighbours()).all()


def test_every_block_of_a_large_table_is_checked() -> None:
    large = (np.arange(40_000, dtype=np.int32)[:, None] + 1 + np.arange(64, dtype=np.int32)) % 40_000
    assert len(NegativeTable(large, {})) == 40_000
    for value, message in ((40_000, "outside"), (-1, "partly empty"), (39_999, "own negative")):
        changed = large.copy()
        changed[39_999, 7] = value
        with pytest.raises(DataError, match=message):
            NegativeTable(changed, {})
