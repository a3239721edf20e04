"""Changing files of a directory with checksums: kills, failures, two writers."""

from __future__ import annotations

import fcntl
import os
import threading

import pytest

from cmelt_plugin.data.directory import replacing as module
from cmelt_plugin.data.directory.checksums import CHECKSUMS_FILE, check_listed, read_checksums
from cmelt_plugin.data.directory.replacing import directory_lock, entry_of, replacing, write_checksums
from cmelt_plugin.errors import DataError


@pytest.fixture
def directory(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    write_checksums(tmp_path, {name: entry_of(tmp_path / name) for name in ("a", "b")})
    return tmp_path


def test_new_content_is_listed(directory) -> None:
    with replacing(directory, ["a", "c"]):
        assert set(read_checksums(directory)) == {"b"}  # as a kill would leave it: no false alarm
        (directory / "a").write_text("new")
        (directory / "c").write_text("c")
    assert set(read_checksums(directory)) == {"a", "b", "c"}
    assert all(check_listed(directory / name) for name in "abc")


def test_deleted_files_go_from_the_list(directory) -> None:
    with replacing(directory, ["a"]):
        (directory / "a").unlink()
    assert set(read_checksums(directory)) == {"b"}


def test_after_a_failure_only_what_is_unchanged_is_listed(directory) -> None:
    with pytest.raises(OSError), replacing(directory, ["a", "b", "c"]):
        (directory / "a").write_text("half")
        (directory / "c").write_text("half")
        raise OSError
    assert set(read_checksums(directory)) == {"b"}


def test_directories_without_a_list_stay_so(tmp_path) -> None:
    with replacing(tmp_path / "new", ["a"]):
        (tmp_path / "new" / "a").touch()
    assert not (tmp_path / "new" / CHECKSUMS_FILE).exists()


def test_two_commands_wait_for_each_other(directory, monkeypatch) -> None:
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.2)
    descriptor = os.open(directory, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(DataError, match="another run is writing here"), replacing(directory, ["a"]):
        pytest.fail("both write")
    monkeypatch.setattr(module, "LOCK_SECONDS", 60)
    timer = threading.Timer(0.2, os.close, [descriptor])
    timer.start()
    with replacing(directory, ["a"]):
        (directory / "a").write_text("2")
    timer.join()
    assert check_listed(directory / "a")


def test_a_lock_within_a_lock(directory) -> None:
    with directory_lock(directory), directory_lock(directory), replacing(directory, ["a"]):
        pass
    with directory_lock(directory):
        pass
