"""The record store gives back what was put in, and refuses damaged shards."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cmelt_plugin.data.files import fingerprint, read_json, write_json
from cmelt_plugin.data.store.record_store import RecordStore, shard_name, to_digital
from cmelt_plugin.data.store.shard_writer import describe_shard, write_records, write_shard, write_store_json
from cmelt_plugin.errors import DataError


@pytest.fixture
def ecg():
    return np.random.default_rng(0).normal(0, 1, (7, 12, 5000))


@pytest.fixture
def stored(tmp_path, ecg):
    """A store of seven records in shards of three, and where each lies."""
    return (tmp_path, *write_records(tmp_path, ecg, rows_per_shard=3))


@given(arrays(np.float64, 40, elements=st.floats(-32.767, 32.767)))
def test_steps_are_within_half_a_microvolt(ecg):
    digital, clipped = to_digital(ecg)
    assert digital.dtype == np.int16
    assert clipped == 0
    assert np.abs(digital * 0.001 - ecg).max() <= 0.0005 + 1e-9


@given(arrays(np.int16, 40, elements=st.integers(-32767, 32767)))
def test_digital_units_survive_float32(digital):
    assert np.array_equal(to_digital(digital.astype(np.float32) * np.float32(0.001))[0], digital)


def test_values_beyond_the_range_are_clipped_and_counted():
    digital, clipped = to_digital(np.array([40.0, -40.0, 32.767, -32.767, 0.0]))
    assert digital.tolist() == [32767, -32767, 32767, -32767, 0]
    assert clipped == 2


def test_read_in_any_order(stored, ecg):
    root, shard, row = stored
    store = RecordStore(root)
    assert store.rows.tolist() == [3, 3, 1]
    order = np.array([6, 0, 4, 4, 2])
    read = store.read(shard[order], row[order])
    assert read.dtype == np.float32 and read.shape == (5, 12, 5000)
    assert np.abs(read - ecg[order]).max() <= 0.00051
    assert np.array_equal(read, store.read_digital(shard[order], row[order]) * np.float32(0.001))


def test_read_into_a_given_array(stored):
    root, shard, row = stored
    out = np.full((7, 12, 5000), np.nan, dtype=np.float32)
    assert RecordStore(root).read(shard, row, out) is out
    assert np.array_equal(out, RecordStore(root).read(shard, row))


def test_no_rows(stored):
    empty = np.array([], dtype=np.int32)
    assert RecordStore(stored[0]).read(empty, empty).shape == (0, 12, 5000)


@pytest.mark.parametrize("place", [(0, 3), (2, 1), (3, 0), (0, -1)])
def test_a_row_that_does_not_exist(stored, place):
    with pytest.raises(IndexError):
        RecordStore(stored[0]).read(np.array([place[0]]), np.array([place[1]]))


def test_a_store_in_use_can_be_pickled(stored):
    root, shard, row = stored
    store = RecordStore(root)
    before = store.read(shard, row)
    assert np.array_equal(pickle.loads(pickle.dumps(store)).read(shard, row), before)


def test_shards_are_plain_npy_files(stored, ecg):
    array = np.load(stored[0] / shard_name(1), mmap_mode="r")
    assert array.dtype == np.int16 and array.shape == (3, 12, 5000)
    assert np.array_equal(array, to_digital(ecg[3:6])[0])


def test_store_json_describes_the_shards(stored):
    info = read_json(stored[0] / "store.json")
    assert info["unit"] == "mV" and info["scale"] == 0.001 and info["sample_rate"] == 500
    assert info["leads"][3:6] == ["aVR", "aVL", "aVF"]
    assert [shard["rows"] for shard in info["shards"]] == [3, 3, 1]
    assert info["shards"][2]["sha256"] == fingerprint(stored[0] / shard_name(2))


def test_clipped_records_are_counted(tmp_path, ecg):
    ecg[2, 0, :5] = 50
    ecg[4, 3, 1] = -50
    write_records(tmp_path, ecg)
    assert read_json(tmp_path / "store.json")["clipped_records"] == 2


def test_missing_shard(stored):
    root, shard, row = stored
    (root / shard_name(1)).unlink()
    store = RecordStore(root)
    store.read(shard[:3], row[:3])
    with pytest.raises(DataError, match="records-00001.npy: shard is missing"):
        store.read(shard, row)


@pytest.mark.parametrize("keep, message", [(-1, "truncated"), (100_000, "truncated"), (60, "not a shard"), (0, "not a")])
def test_truncated_shard(stored, keep, message):
    path = stored[0] / shard_name(0)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=f"records-00000.npy: {message}"):
        RecordStore(stored[0]).check([0])


def test_shard_of_another_length(stored):
    (stored[0] / shard_name(2)).replace(stored[0] / shard_name(0))
    with pytest.raises(DataError, match="store.json says"):
        RecordStore(stored[0]).check([0])


@pytest.mark.parametrize(
    "change",
    [{"format": 2}, {"unit": "uV"}, {"sample_rate": 250}, {"leads": ["I"]}, {"shards": [{}]}, {"scale": "small"}],
)
def test_another_store_json_is_refused(stored, change):
    path = stored[0] / "store.json"
    write_json(path, {**read_json(path), **change})
    with pytest.raises(DataError, match="store.json"):
        RecordStore(stored[0])


def test_folder_without_store(tmp_path):
    with pytest.raises(DataError, match="store.json: no such file"):
        RecordStore(tmp_path)


def test_an_interrupted_shard_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), write_shard(tmp_path / shard_name(0)) as shard:
        shard.append(np.zeros((12, 5000), np.int16))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("row", [np.zeros((12, 5000), np.float32), np.zeros((5000, 12), np.int16)])
def test_a_row_of_another_kind_is_refused(tmp_path, row):
    with pytest.raises(ValueError, match="int16"), write_shard(tmp_path / shard_name(0)) as shard:
        shard.append(row)


@settings(max_examples=5, deadline=None)
@given(rows=st.integers(1, 12))
def test_header_fits_any_number_of_rows(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("store") / shard_name(0)
    with write_shard(path) as shard:
        for value in range(rows):
            assert shard.append(np.full((12, 5000), value, np.int16)) == value
    write_store_json(path.parent, [describe_shard(path, rows)])
    read = RecordStore(path.parent).read_digital(np.zeros(rows, int), np.arange(rows))
    assert np.array_equal(read[:, 0, 0], np.arange(rows))
