"""A manifest over another directory's recordings notices when those were packed again."""

from __future__ import annotations

import pytest

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import fingerprint, read_json, write_json
from cmelt_plugin.data.store.ties import check_store_tie
from cmelt_plugin.errors import DataError
from tests.preprocess.packing.test_reuse import N, by_id, made_up, pack_made_up, reuse_made_up

PACKED_AGAIN = "packed again since.*--store .*s --dest .*--overwrite"


def as_before(directory):
    """As directories were made before checksums and the digest of store.json were noted."""
    (directory / "checksums.json").unlink()
    manifest = read_json(directory / "manifest.json")
    del manifest["checksums"], manifest["fingerprints"]["store.json"]
    write_json(directory / "manifest.json", manifest)
    return directory


@pytest.fixture
def pair(tmp_path):
    pack_made_up(tmp_path / "s")
    reuse_made_up(tmp_path / "s", tmp_path / "m")
    return tmp_path / "s", tmp_path / "m"


@pytest.mark.parametrize("old", [False, True])
def test_a_store_packed_again_in_another_order_is_refused(pair, old) -> None:
    store, directory = pair
    if old:
        as_before(directory)
    assert len(by_id(directory)) == N - 1 and check_store_tie(directory, store)
    pack_made_up(store, made_up(range(N)[::-1]), overwrite=True)
    with pytest.raises(DataError, match=PACKED_AGAIN):
        Manifest.open(directory, "train")
    with pytest.raises(DataError, match="different: store"):
        reuse_made_up(store, directory)
    reuse_made_up(store, directory, overwrite=True)
    assert len(by_id(directory)) == N - 1


@pytest.mark.parametrize("old", [False, True])
def test_the_same_packing_again_is_no_other_store(pair, old) -> None:
    store, directory = pair
    if old:
        as_before(directory)
    pack_made_up(store, overwrite=True)
    assert len(by_id(directory)) == N - 1


def test_a_store_of_a_store(pair, tmp_path) -> None:
    store, directory = pair
    reuse_made_up(directory, tmp_path / "n", made_up(range(4)))
    pack_made_up(store, made_up(range(N)[::-1]), overwrite=True)
    with pytest.raises(DataError, match=PACKED_AGAIN):
        Manifest.open(tmp_path / "n", "train")


def test_what_an_older_directory_noted_of_the_one_between_is_no_false_alarm(pair, tmp_path) -> None:
    store, directory = pair
    reuse_made_up(directory, tmp_path / "n", made_up(range(4)))
    as_before(tmp_path / "n")
    assert check_store_tie(tmp_path / "n", store) is False
    assert len(by_id(tmp_path / "n")) == 4


def test_a_store_that_lost_its_description_is_refused(pair) -> None:
    store, directory = pair
    as_before(directory)
    (store / "checksums.json").unlink()
    (store / "manifest.json").unlink()
    with pytest.raises(DataError, match=PACKED_AGAIN):
        Manifest.open(directory, "train")


@pytest.mark.parametrize("value", [[], 7, {"fingerprints": 3}, {"arguments": []}, {"fingerprints": {}, "recordings": [1]}])
def test_odd_descriptions(pair, value) -> None:
    _, directory = pair
    (directory / "checksums.json").unlink()
    write_json(directory / "manifest.json", value)
    if isinstance(value, dict):
        assert check_store_tie(directory, directory) is False
    else:
        with pytest.raises(DataError, match="manifest.json: holds a"):
            Manifest.open(directory, "train")


def test_a_directory_packed_by_itself_knows_its_own_store(pair) -> None:
    store, _ = pair
    assert read_json(store / "manifest.json")["fingerprints"]["store.json"] == fingerprint(store / "store.json")
    (store / "checksums.json").unlink()
    manifest = read_json(store / "manifest.json")
    write_json(store / "manifest.json", {key: value for key, value in manifest.items() if key != "checksums"})
    write_json(store / "store.json", {**read_json(store / "store.json"), "clipped_records": 1})
    with pytest.raises(DataError, match="packed again since"):
        Manifest.open(store, "train")
