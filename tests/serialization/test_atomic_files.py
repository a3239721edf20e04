"""Files appear whole or not at all, under their own name, as readable as any other new file."""

from __future__ import annotations

import os
import stat

import pytest

from cmelt_plugin.data.files import read_json, write_json
from cmelt_plugin.serialization import atomic_files
from cmelt_plugin.serialization.atomic_files import atomic_path


def test_the_file_appears_when_it_is_complete(tmp_path) -> None:
    path = tmp_path / "new" / "folder" / "table.npz"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent and temporary.suffix == ".npz"
        assert temporary.name.startswith(".table.") and not path.exists()
        assert temporary.read_bytes() == b""
        temporary.write_bytes(b"all of it")
    assert path.read_bytes() == b"all of it" and list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"old": 1} and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="needs permissions of Unix")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_permissions_are_those_of_any_new_file_and_the_umask_is_never_touched(tmp_path, monkeypatch, umask, mode) -> None:
    before = os.umask(umask)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", lambda mask: pytest.fail("another thread could make a file now"))
            with atomic_path(tmp_path / "a.txt") as temporary:
                temporary.write_text("a")
            (tmp_path / "plain.txt").write_text("a")
    finally:
        assert os.umask(before) == umask
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.txt", "plain.txt")}
    assert modes == {mode}


def test_a_name_that_is_taken_is_left_alone(tmp_path, monkeypatch) -> None:
    names = iter(["aaaa", "aaaa", "bbbb"])
    monkeypatch.setattr(atomic_files.secrets, "token_hex", lambda n: next(names))
    with atomic_path(tmp_path / "a.txt") as first, atomic_path(tmp_path / "a.txt") as second:
        assert (first.name, second.name) == (".a.aaaa.tmp.txt", ".a.bbbb.tmp.txt")
        second.write_text("second")
        first.write_text("first")
    assert (tmp_path / "a.txt").read_text() == "first"
