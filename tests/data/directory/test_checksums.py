"""The list of checksums: what it refuses, what it remembers, and that it forgets in time."""

from __future__ import annotations

import json
import os

import pytest

from cmelt_plugin.data.directory import checksums
from cmelt_plugin.data.directory.checksums import (
    CHECKSUMS_FILE,
    Entry,
    check_listed,
    check_whole,
    fingerprint,
    is_listed,
    read_checksums,
)
from cmelt_plugin.data.directory.replacing import entry_of, write_checksums
from cmelt_plugin.data.files import read_json, read_object
from cmelt_plugin.errors import DataError


@pytest.fixture
def listed(tmp_path):
    """A folder with one listed file."""
    (tmp_path / "a.json").write_text('{"a": 1}')
    write_checksums(tmp_path, {"a.json": entry_of(tmp_path / "a.json")})
    return tmp_path


def test_what_is_listed_is_compared_and_nothing_else(listed, tmp_path_factory) -> None:
    (listed / "b.json").write_text("{}")
    assert check_listed(listed / "a.json") and not check_listed(listed / "b.json")
    assert is_listed(listed / "a.json") and not is_listed(listed / "b.json")
    other = tmp_path_factory.mktemp("old")
    assert read_checksums(other) is None and not check_listed(other / "a.json")


@pytest.mark.parametrize("text, message", [('{"a": 2}', "not the bytes"), ('{"a": 12}', "9 bytes, checksums.json says 8")])
def test_a_changed_file_is_refused_by_every_reader(listed, text, message) -> None:
    (listed / "a.json").write_text(text)
    for read in (check_listed, read_json, read_object):
        with pytest.raises(DataError, match=f"a.json: changed since it was written: {message}.*--accept a.json"):
            read(listed / "a.json")


def test_a_missing_file_is_refused(listed) -> None:
    (listed / "a.json").unlink()
    with pytest.raises(DataError, match="a.json: missing, although checksums.json lists it"):
        read_json(listed / "a.json")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        "{}",
        "[" * 100_000,
        b"\xff\xfe",
        '{"format": 2, "files": {}, "checksum": ""}',
        '{"format": 1, "files": {"a": {"bytes": -1, "sha256": ""}}, "checksum": ""}',
        '{"format": 1, "files": {"../a": {"bytes": 1, "sha256": ""}}, "checksum": ""}',
        '{"format": 1, "files": {"a": 7}, "checksum": ""}',
        '{"format": 1, "files": [], "checksum": ""}',
        '{"format": 1, "files": {}, "checksum": "sha256:0"}',
    ],
)
def test_a_damaged_list_is_one_line(listed, text) -> None:
    (listed / CHECKSUMS_FILE).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=r"checksums.json: damaged \(.*--accept '\*'") as refusal:
        read_json(listed / "a.json")
    assert "\n" not in str(refusal.value)


def test_a_changed_entry_is_noticed(listed) -> None:
    values = json.loads((listed / CHECKSUMS_FILE).read_text())
    values["files"]["a.json"]["bytes"] += 1
    (listed / CHECKSUMS_FILE).write_text(json.dumps(values))
    with pytest.raises(DataError, match="checksum over itself is wrong"):
        read_checksums(listed)


def test_digests_are_remembered_until_the_file_changes(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    os.utime(path, (1, 1))
    monkeypatch.setattr(checksums, "SETTLED_NS", 0)
    first = fingerprint(path)
    monkeypatch.setattr(checksums.hashlib, "sha256", lambda: pytest.fail("read again"))
    assert fingerprint(path) == first
    monkeypatch.undo()
    path.write_bytes(b"2")
    os.utime(path, (1, 1))  # the same size and time of change; the time of the inode cannot be set
    assert fingerprint(path) != first


def test_young_files_are_read_again(tmp_path) -> None:
    path = tmp_path / "a"
    for content in (b"1", b"2", b"3"):
        path.write_bytes(content)
        assert fingerprint(path) == "sha256:" + checksums.hashlib.sha256(content).hexdigest()


def test_a_half_swapped_directory_is_refused(tmp_path) -> None:
    check_whole(tmp_path)
    (tmp_path / ".packing").mkdir()
    (tmp_path / ".packing" / "swap.json").touch()
    check_whole(tmp_path)  # all that is left to do there is to clean up
    (tmp_path / ".packing" / "manifest.json").touch()
    with pytest.raises(DataError, match="partly replaced.*run the same command again"):
        check_whole(tmp_path)


def test_names_of_any_script(tmp_path) -> None:
    names = ["häß.tsv", "日本.tsv", "a b.tsv"]
    write_checksums(tmp_path, {name: Entry(1, "sha256:x") for name in names})
    assert set(read_checksums(tmp_path)) == set(names)


def test_a_fifo_in_place_of_the_list_keeps_nobody_waiting(listed) -> None:
    (listed / "checksums.json").unlink()
    os.mkfifo(listed / "checksums.json")
    with pytest.raises(DataError, match="checksums.json: is not a file"):
        read_checksums(listed)
