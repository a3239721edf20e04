"""Manifests are read as they were written, and every bad line is named."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.directory.split_files import read_places, write_split
from cmelt_plugin.data.directory.split_meta import META_SCHEMA
from cmelt_plugin.data.files import write_json
from cmelt_plugin.data.store.record_store import shard_name
from cmelt_plugin.data.store.shard_writer import write_records
from cmelt_plugin.errors import DataError

FILES = [shard_name(0), shard_name(1)]


def make_meta(n):
    return pa.table(
        {
            "record_id": [f"r{i}" for i in range(n)],
            "subject_id": [f"s{i // 2}" for i in range(n)],
            "report_id": np.arange(n, dtype=np.int32) - 1,
            "sex": ["F"] * n,
            "age": np.full(n, np.nan, dtype=np.float32),
            "source": ["made"] * n,
            "time": [""] * n,
            "source_rate": np.full(n, 500, dtype=np.float32),
        }
    )


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory):
    """Two shards of four and three rows."""
    folder = tmp_path_factory.mktemp("store")
    write_records(folder, np.zeros((7, 12, 5000)), rows_per_shard=4)
    return folder


def write(directory, store_folder, places, split="train"):
    shard, row, samples = (np.array(column) for column in zip(*places))
    write_split(directory, split, FILES, shard, row, samples, make_meta(len(places)), root=str(store_folder))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.lists(
        st.one_of(
            st.tuples(st.just(0), st.integers(0, 3), st.integers(1, 5000)),
            st.tuples(st.just(1), st.integers(0, 2), st.integers(1, 5000)),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_round_trip(tmp_path, store_folder, places):
    write(tmp_path, store_folder, places)
    manifest = Manifest.open(tmp_path, "train")
    assert len(manifest) == len(places)
    assert list(zip(manifest.shard.tolist(), manifest.row.tolist(), manifest.n_samples.tolist())) == places
    assert {manifest.shard.dtype, manifest.row.dtype, manifest.n_samples.dtype} == {np.dtype(np.int16)}
    assert manifest.report_ids().tolist() == list(range(-1, len(places) - 1))
    assert manifest.meta().schema.names == META_SCHEMA.names


def test_the_file_is_fairseqs_format(tmp_path, store_folder):
    write(tmp_path, store_folder, [(1, 2, 5000), (0, 0, 3500)])
    expected = f"{store_folder}\nrecords-00001.npy:2\t5000\nrecords-00000.npy:0\t3500\n"
    assert (tmp_path / "train.tsv").read_text() == expected


@pytest.mark.parametrize("root", [".", "packed"])
def test_relative_root_counts_from_the_manifest(tmp_path, monkeypatch, root):
    write_records(tmp_path / "m" / root, np.ones((1, 12, 5000)))
    one = np.array([0])
    write_split(tmp_path / "m", "test", [shard_name(0)], one, one, one + 5000, make_meta(1), root=root)
    monkeypatch.chdir(tmp_path)
    assert Manifest.open("m", "test").store_root.resolve() == (tmp_path / "m" / root).resolve()


@pytest.mark.parametrize(
    "line, message",
    [
        ("records-00000.npy\t5000", "line 3: expected 'SHARD:ROW<TAB>SAMPLES'"),
        ("records-00000.npy:0", "line 3: expected"),
        ("records-00000.npy:0 5000", "line 3: expected"),
        ("records-00000.npy:x\t5000", "line 3: expected"),
        ("records-00000.npy:-1\t5000", "line 3: expected"),
        ("records-00000.npy:0\t5000\t1", "line 3: expected"),
        ("", "line 3: expected"),
        ("records-00000.npy:0:0\t5000", "line 3: expected"),
        ("records-00007.npy:0\t5000", "line 3: shard records-00007.npy is not in"),
        ("records-00001.npy:3\t5000", "line 3: row 3 of records-00001.npy, which has 3 rows"),
        ("records-00001.npy:99999999999\t5000", "line 3: row 99999999999"),
        ("records-00001.npy:0\t5001", "line 3: 5001 samples"),
        ("records-00001.npy:0\t0", "line 3: 0 samples"),
    ],
)
def test_a_bad_line_is_named(tmp_path, store_folder, line, message):
    good = "records-00001.npy:0\t5000"
    (tmp_path / "train.tsv").write_text(f"{store_folder}\n{good}\n{line}\n{good}\n")
    with pytest.raises(DataError, match=f"train.tsv, {message}"):
        Manifest.open(tmp_path, "train")


@pytest.mark.parametrize("text, message", [("", "line 1"), ("records-00000.npy:0\t5000\n", "line 1"), (None, "no records")])
def test_without_root_or_records(tmp_path, store_folder, text, message):
    (tmp_path / "train.tsv").write_text(f"{store_folder}\n" if text is None else text)
    with pytest.raises(DataError, match=message):
        Manifest.open(tmp_path, "train")


def test_missing_split_names_the_others(tmp_path, store_folder):
    write(tmp_path, store_folder, [(0, 0, 5000)], split="test")
    (tmp_path / "rejected.tsv").write_text("record_id\tpath\treason\n")
    assert available_splits(tmp_path) == ["test"]
    with pytest.raises(DataError, match=r"valid.tsv: no such file \(splits in this folder: test\)"):
        Manifest.open(tmp_path, "valid")


def test_root_without_a_store(tmp_path):
    (tmp_path / "train.tsv").write_text("elsewhere\nrecords-00000.npy:0\t5000\n")
    with pytest.raises(DataError, match="train.tsv, line 1.*elsewhere/store.json"):
        Manifest.open(tmp_path, "train")


def test_missing_shard_names_shard_and_manifest(tmp_path):
    write_records(tmp_path, np.zeros((7, 12, 5000)), rows_per_shard=4)
    write(tmp_path, ".", [(0, 0, 5000), (1, 0, 5000)])
    write(tmp_path, ".", [(0, 0, 5000)], split="valid")
    (tmp_path / FILES[1]).unlink()
    with pytest.raises(DataError, match="train.tsv: .*records-00001.npy: shard is missing"):
        Manifest.open(tmp_path, "train")
    Manifest.open(tmp_path, "valid")  # does not need that shard


def test_truncated_shard_names_shard_and_manifest(tmp_path):
    write_records(tmp_path, np.zeros((2, 12, 5000)))
    write(tmp_path, ".", [(0, 0, 5000)])
    (tmp_path / FILES[0]).write_bytes((tmp_path / FILES[0]).read_bytes()[:-10])
    with pytest.raises(DataError, match="train.tsv: .*records-00000.npy: truncated"):
        Manifest.open(tmp_path, "train")


def test_meta_must_match_the_lines(tmp_path, store_folder):
    write(tmp_path, store_folder, [(0, 0, 5000), (0, 1, 5000)])
    manifest = Manifest.open(tmp_path, "train")
    with pytest.raises(DataError, match="no column weight"):
        manifest.meta(["weight"])
    write(tmp_path, store_folder, [(0, 0, 5000)], split="other")
    (tmp_path / "other.meta.parquet").replace(tmp_path / "train.meta.parquet")
    with pytest.raises(DataError, match="1 rows, but train.tsv lists 2"):
        manifest.report_ids()
    (tmp_path / "train.meta.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="unreadable"):
        manifest.report_ids()
    (tmp_path / "train.meta.parquet").unlink()
    with pytest.raises(DataError, match="train.meta.parquet: no such file"):
        manifest.report_ids()


def test_labels(tmp_path, store_folder):
    write(tmp_path, store_folder, [(0, 0, 5000), (0, 1, 5000)])
    manifest = Manifest.open(tmp_path, "train")
    assert manifest.labels() is None
    write_json(tmp_path / "labels.json", {"label_set": "x", "names": ["AF", "MI"]})
    np.save(tmp_path / "train.labels.npy", np.array([[1, np.nan], [0, 1]], dtype=np.float32))
    values, names = manifest.labels()
    assert names == ["AF", "MI"]
    assert np.array_equal(values, [[1, np.nan], [0, 1]], equal_nan=True)


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros((1, 2), np.float32), "2 records"),
        (np.zeros((2, 3), np.uint8), "2 classes"),
        (np.zeros((2, 2), np.float64), "float64"),
        (np.array([["a", None]] * 2, dtype=object), "unreadable"),
    ],
)
def test_labels_of_another_shape(tmp_path, store_folder, array, message):
    write(tmp_path, store_folder, [(0, 0, 5000), (0, 1, 5000)])
    write_json(tmp_path / "labels.json", {"label_set": "x", "names": ["AF", "MI"]})
    np.save(tmp_path / "train.labels.npy", array)
    with pytest.raises(DataError, match=message):
        Manifest.open(tmp_path, "train").labels()


def test_unequal_lengths_are_refused(tmp_path):
    one = np.array([0])
    with pytest.raises(ValueError, match="unequal"):
        write_split(tmp_path, "train", FILES, one, one, one, make_meta(2))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_blocks_of_lines_make_one_manifest(tmp_path, store_folder, monkeypatch, end):
    monkeypatch.setattr("cmelt_plugin.data.directory.split_files.BLOCK_BYTES", 64)
    places = [(i % 2, i % 3, 1 + i) for i in range(200)]
    lines = [str(store_folder), *(f"{FILES[s]}:{r}\t{n}" for s, r, n in places)]
    for last in ("", end):
        (tmp_path / "train.tsv").write_bytes((end.join(lines) + last).encode())
        manifest = Manifest.open(tmp_path, "train")
        assert list(zip(manifest.shard.tolist(), manifest.row.tolist(), manifest.n_samples.tolist())) == places
    lines[150] = f"{FILES[1]}:3\t5000"
    (tmp_path / "train.tsv").write_text("\n".join(lines))
    with pytest.raises(DataError, match="line 151: row 3 of records-00001.npy"):
        Manifest.open(tmp_path, "train")


@pytest.mark.parametrize(
    "files, rows, types", [(32767, 32767, "int16 int16"), (32768, 5, "int32 int16"), (5, 32768, "int16 int32")]
)
def test_numbers_are_held_in_the_smallest_type_that_fits(tmp_path, files, rows, types):
    store = SimpleNamespace(root=tmp_path, files=[shard_name(i) for i in range(files)], rows=np.full(files, rows, np.int32))
    (tmp_path / "train.tsv").write_text(f".\n{shard_name(files - 1)}:{rows - 1}\t5000\n{shard_name(0)}:0\t1\n")
    columns = read_places(tmp_path / "train.tsv", store, lines=3)
    assert [column.tolist() for column in columns] == [[files - 1, 0], [rows - 1, 0], [5000, 1]]
    assert [column.dtype.name for column in columns] == [*types.split(), "int16"]


def test_columns_of_the_meta_file_come_in_the_order_asked_for(tmp_path, store_folder):
    write(tmp_path, store_folder, [(0, 0, 5000), (0, 1, 5000)])
    assert Manifest.open(tmp_path, "train").meta(["source", "record_id"]).column_names == ["source", "record_id"]


def test_report_ids_of_a_meta_file_in_several_parts(tmp_path, store_folder):
    write(tmp_path, store_folder, [(0, 0, 5000)] * 7)
    pq.write_table(make_meta(7), tmp_path / "train.meta.parquet", row_group_size=3)
    ids = Manifest.open(tmp_path, "train").report_ids()
    assert ids.dtype == np.int32 and ids.tolist() == [-1, 0, 1, 2, 3, 4, 5]
