"""A bounded number of shards stays mapped, those used last, and a store of any number of shards can be read."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from cmelt_plugin.data.store import open_shards
from cmelt_plugin.data.store.open_shards import OpenShards, Prefetching, most_open_shards, parts_of_few_shards
from cmelt_plugin.data.store.record_store import RecordStore, shard_name
from cmelt_plugin.data.store.shard_writer import write_records
from cmelt_plugin.errors import DataError


@pytest.mark.parametrize(
    ("limit", "expected"), [(1024, 256), (32, 16), (100, 25), (1_048_576, 4096), (-1, 4096), (2**63 - 1, 4096)]
)
def test_a_quarter_of_the_files_a_process_may_open(monkeypatch, limit: int, expected: int) -> None:
    fake = SimpleNamespace(RLIMIT_NOFILE=7, getrlimit=lambda kind: (limit, limit))
    monkeypatch.setattr(open_shards, "resource", fake)
    assert most_open_shards() == expected


def test_without_a_known_limit(monkeypatch) -> None:
    monkeypatch.setattr(open_shards, "resource", None)
    assert most_open_shards() == 256


def test_the_shards_used_last_stay_mapped() -> None:
    opened = []
    maps = OpenShards()
    maps.most = 3

    def get(*numbers: int) -> None:
        assert list(maps.get(numbers, lambda number: opened.append(number) or f"shard {number}").values()) == [
            f"shard {number}" for number in numbers
        ]

    get(0, 1, 2)
    get(0)
    get(3)  # in place of 1
    get(0, 2, 3)
    assert opened == [0, 1, 2, 3] and len(maps) == 3
    get(1)  # in place of 0
    get(2, 3)
    assert opened == [0, 1, 2, 3, 1]
    get(4, 5, 6)
    assert opened == [0, 1, 2, 3, 1, 4, 5, 6] and len(maps) == 3


def test_parts_name_few_shards_and_together_are_the_list() -> None:
    shards = [5, 5, 2, 5, 9, 2, 7, 7, 1]
    parts = [shards[part] for part in parts_of_few_shards(shards, 2)]
    assert parts == [[5, 5, 2, 5], [9, 2], [7, 7, 1]]
    for most in (5, 100):
        assert list(parts_of_few_shards(shards, most)) == [slice(0, 9)]
    assert list(parts_of_few_shards([], 2)) == [slice(0, 0)]


@pytest.fixture
def store(tmp_path):
    """Forty records of their own constant number of units, one to a shard, of which three may be mapped."""
    values = np.repeat(np.arange(1, 41) * 0.001, 12 * 5000).reshape(40, 12, 5000)
    write_records(tmp_path, values, rows_per_shard=1)
    made = RecordStore(tmp_path)
    made._shards.most = 3
    return made


def test_a_batch_may_touch_more_shards_than_may_be_mapped(store) -> None:
    order = np.random.default_rng(0).integers(0, 40, 200)
    for _ in range(2):
        digital = store.read_digital(order, np.zeros(200, int))
        assert len(store._shards) <= 3
        assert (digital == order[:, None, None] + 1).all()
        mv = store.read(order, np.zeros(200, int))
        np.testing.assert_array_equal(mv, digital * np.float32(0.001))


def test_rows_outlive_the_map_they_came_from(store) -> None:
    rows = list(store._records(np.arange(40), np.zeros(40, int)))
    assert len(store._shards) == 3
    assert [int(row[3, 7]) for row in rows] == list(range(1, 41))


def test_a_shard_that_went_missing_or_shrank_since_it_was_first_read_is_named(store) -> None:
    every = np.arange(40)
    store.read_digital(every, 0 * every)
    path = store.root / shard_name(0)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match="records-00000.npy: truncated"):
        store.read_digital(every[:1], every[:1])
    path.unlink()
    with pytest.raises(DataError, match="records-00000.npy: shard is missing"):
        store.read_digital(every[:1], every[:1])


SCRIPT = """
import resource, sys
import numpy as np
from cmelt_plugin.data.store.record_store import RecordStore
resource.setrlimit(resource.RLIMIT_NOFILE, (36, 36))
store, shards = RecordStore(sys.argv[1]), np.random.default_rng(0).permutation(40)
for _ in range(2):
    assert (store.read_digital(shards, 0 * shards)[:, 0, 0] == shards + 1).all()
print(store._shards.most, len(store._shards))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of Unix")
def test_a_store_of_more_shards_than_a_process_may_open_files_is_read(store) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(store.root)], capture_output=True, text=True, timeout=100, env=dict(os.environ)
    )
    assert done.stdout.split() == ["16", "16"], done.stderr


def test_rows_are_asked_for_ahead_until_reads_stay_quiet() -> None:
    counts = [3, 100]  # pages waited for, blocks read
    prefetching = Prefetching(lambda: tuple(counts))
    for counter in (0, 1):
        assert [prefetching.pays() for _ in range(6)] == [True, True, True, True, False, False]
        counts[counter] += 1  # the last read waited
    assert prefetching.pays()
    assert all(Prefetching(lambda: None).pays() for _ in range(10))  # where the system counts nothing


def test_a_store_in_another_process_reads_the_same(store) -> None:
    order = np.arange(40)
    expected = store.read_digital(order, np.zeros(40, int))
    assert np.array_equal(pickle.loads(pickle.dumps(store)).read_digital(order, np.zeros(40, int)), expected)
