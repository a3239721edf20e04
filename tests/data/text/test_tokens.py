"""TokenTable: round trip, and every way a sidecar can be wrong."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.data.files import fingerprint
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError

INFO = {
    "format": 1,
    "tokenizer": "tiny",
    "fingerprint": "sha256:00",
    "source_fingerprint": "sha256:00",
    "vocab_size": 50,
    "pad_id": 0,
    "mask_id": 49,
    "special_ids": [0, 1, 2, 49],
    "max_tokens": 16,
}


def table_of(texts: list[list[int]], **changes) -> TokenTable:
    ids = np.array([token for text in texts for token in text], dtype=np.int32)
    offsets = np.cumsum([0] + [len(text) for text in texts])
    return TokenTable(ids, offsets, {**INFO, **changes})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 49), max_size=9), max_size=12))
def test_round_trip_gives_back_every_text(tmp_path_factory, texts) -> None:
    path = tmp_path_factory.mktemp("tokens") / "reports.tiny.npz"
    table_of(texts).save(path)
    loaded = TokenTable.load(path)
    assert [loaded[i].tolist() for i in range(len(loaded))] == texts
    assert loaded.lengths().tolist() == [len(text) for text in texts]
    assert loaded.info == INFO
    assert loaded.ids.dtype == np.int32 and loaded.offsets.dtype == np.int64


def test_class_index_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "prompts.tiny.npz"
    TokenTable(np.arange(4), np.array([0, 1, 4]), INFO, np.array([1, 0])).save(path)
    assert TokenTable.load(path).class_index.tolist() == [1, 0]
    assert [p.name for p in tmp_path.iterdir()] == ["prompts.tiny.npz"]


def test_negative_index_raises_because_minus_one_means_no_report() -> None:
    table = table_of([[1], [2]])
    with pytest.raises(IndexError):
        table[-1]
    with pytest.raises(IndexError):
        table[2]


@pytest.mark.parametrize(
    ("ids", "offsets", "class_index", "changes", "message"),
    [
        ([1, 2], [0, 3], None, {}, "span"),
        ([1, 2], [1, 2], None, {}, "span"),
        ([1, 2], [0, 2, 1, 2], None, {}, "decrease"),
        ([1, 50], [0, 2], None, {}, "outside"),
        ([1, -1], [0, 2], None, {}, "outside"),
        ([1, 2], [0, 2], [0, 1], {}, "class indices"),
        ([1, 2], [0, 2], None, {"format": 2}, "format 2"),
    ],
)
def test_contradictory_tables_are_refused(ids, offsets, class_index, changes, message) -> None:
    with pytest.raises(DataError, match=message):
        TokenTable(
            np.array(ids),
            np.array(offsets),
            {**INFO, **changes},
            None if class_index is None else np.array(class_index),
        )


def test_missing_info_key_is_named() -> None:
    info = {key: value for key, value in INFO.items() if key != "mask_id"}
    with pytest.raises(DataError, match="mask_id"):
        TokenTable(np.array([1]), np.array([0, 1]), info)


def test_stale_table_is_refused_and_names_file_and_command(tmp_path: Path) -> None:
    source = tmp_path / "reports.parquet"
    source.write_bytes(b"first")
    path = tmp_path / "reports.tiny.npz"
    table_of([[1]], source_fingerprint=fingerprint(source)).save(path)
    assert len(TokenTable.load(path, source)) == 1
    source.write_bytes(b"second")
    with pytest.raises(DataError, match="stale") as caught:
        TokenTable.load(path, source)
    assert str(path) in str(caught.value) and "preprocess/tokenizer.py" in str(caught.value)
    source.unlink()
    with pytest.raises(DataError, match="reports.parquet: no such file"):
        TokenTable.load(path, source)


def test_missing_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "reports.tiny.npz"
    with pytest.raises(DataError, match="no such file"):
        TokenTable.load(path)
    table_of([list(range(40))] * 50).save(path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for damaged in (whole[: len(whole) // 2], bytes(flipped), b"", b"not a zip"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="reports.tiny.npz"):
            TokenTable.load(path)
    np.savez(path, something=np.zeros(3))
    with pytest.raises(DataError, match="not a token table"):
        TokenTable.load(path)
    np.savez(path, info=np.array([json.dumps(INFO)], dtype=object))
    with pytest.raises(DataError, match="not a token table"):
        TokenTable.load(path)


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.int64, ">i4"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_files_of_any_integer_type_are_read(tmp_path: Path, dtype, save) -> None:
    path = tmp_path / "reports.tiny.npz"
    info = np.frombuffer(json.dumps(INFO).encode(), dtype=np.uint8)
    save(path, ids=np.array([3, 49, 7], dtype=dtype), offsets=np.array([0, 1, 3]), info=info)
    table = TokenTable.load(path)
    assert [table[0].tolist(), table[1].tolist()] == [[3], [49, 7]]
    assert table[1].dtype == table.ids.dtype == np.int32
    save(path, ids=np.array([3, 50, 7], dtype=dtype), offsets=np.array([0, 1, 3]), info=info)
    with pytest.raises(DataError, match="outside"):
        TokenTable.load(path)


def test_a_loaded_table_goes_to_workers_as_a_file_name(tmp_path: Path) -> None:
    path = tmp_path / "reports.tiny.npz"
    made = TokenTable(np.arange(50_000) % 50, np.array([0, 3, 3, 50_000]), INFO, np.array([2, 1, 0]))
    made.save(path)
    pickled = pickle.dumps(TokenTable.load(path))
    assert len(pickled) < 2000
    for table in (pickle.loads(pickled), pickle.loads(pickle.dumps(made))):
        assert [table[i].tolist() for i in range(3)] == [made[i].tolist() for i in range(3)]
        assert table.ids.tolist() == made.ids.tolist() and table.class_index.tolist() == [2, 1, 0]
    table = pickle.loads(pickled)
    table[0][:] = 9  # a copy
    assert table[0].tolist() == [0, 1, 2]
    table.save(tmp_path / "copy.npz")
    assert TokenTable.load(tmp_path / "copy.npz").ids.tolist() == made.ids.tolist()
