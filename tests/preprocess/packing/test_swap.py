"""A finished directory stays as it is until its successor is complete, wherever the run is killed."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from cmelt_plugin.data.directory.checksums import read_checksums
from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.directory.replacing import replacing
from cmelt_plugin.data.directory.verification import check_directory
from cmelt_plugin.data.files import fingerprint, read_json, write_json
from cmelt_plugin.errors import DataError
from preprocess.packing import swap
from tests.preprocess.packing.test_pack import made_up, pack_made_up

OLD, NEW = made_up(10), made_up(6, report=["Other"] * 6, split=["train"] * 4 + ["test"] * 2)


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): fingerprint(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def visible(folder: Path) -> dict[str, str]:
    return {name: digest for name, digest in contents(folder).items() if not name.startswith(".")}


def killed_at(operation: int, call) -> bool:
    """Run ``call`` in a child that kills itself at one of its renames and deletions; whether it came that far."""
    child = os.fork()
    if child == 0:
        left = operation

        def counted(real):
            def wrapper(*args, **options):
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **options)

            return wrapper

        for name in ("replace", "unlink", "rmdir"):
            setattr(os, name, counted(getattr(os, name)))
        try:
            call()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.fixture
def whole(tmp_path):
    """What an uninterrupted run with --overwrite leaves."""
    folder = tmp_path / "whole"
    pack_made_up(OLD, folder)
    pack_made_up(NEW, folder, overwrite=True)
    return contents(folder / "m")


def test_killed_anywhere_either_the_old_or_the_new_is_there(battery, tmp_path, whole) -> None:
    pack_made_up(OLD, tmp_path)
    shutil.copytree(tmp_path / "m", tmp_path / "old")
    old = contents(tmp_path / "m")
    operations = 0
    for attack in battery("kills of a packing over a finished directory", inputs=25, long=73):
        operation = 1 + 3 * attack.index % 73  # every third; in the long mode each
        with attack:
            if not killed_at(operation, lambda: pack_made_up(NEW, tmp_path, overwrite=True)):
                attack.expect(contents(tmp_path / "m") == whole, "not killed, and another result")
            else:
                operations = max(operation, operations)
                try:
                    found = {split: len(Manifest.open(tmp_path / "m", split)) for split in available_splits(tmp_path / "m")}
                    assert visible(tmp_path / "m") in (old, whole), (operation, found)
                except DataError as error:
                    assert "partly replaced by a packing command that was stopped" in str(error)
                pack_made_up(NEW, tmp_path, overwrite=operation % 2 == 0 or visible(tmp_path / "m") == old)
                attack.expect(contents(tmp_path / "m") == whole, "another result")
        shutil.rmtree(tmp_path / "m")
        shutil.copytree(tmp_path / "old", tmp_path / "m")
    assert 25 < operations < 73  # the kills were spread over the whole run and its end was reached


def test_an_interrupted_replacement_goes_on_with_the_same_command(tmp_path, monkeypatch, capsys) -> None:
    pack_made_up(OLD, tmp_path)
    old = contents(tmp_path / "m")
    with monkeypatch.context() as patch:
        patch.setattr(swap, "write_checksums", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pack_made_up(NEW, tmp_path, overwrite=True)
    assert visible(tmp_path / "m") == old and check_directory(tmp_path / "m").findings == []
    with pytest.raises(DataError, match="made with other arguments"):
        pack_made_up(NEW, tmp_path)
    pack_made_up(OLD, tmp_path)  # complete already; the begun work stays
    assert "give it again to go on" in capsys.readouterr().err
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "m" / ".packing").glob("records-*")}
    pack_made_up(NEW, tmp_path, overwrite=True)
    assert "going on where an earlier run stopped" in capsys.readouterr().err
    assert all((tmp_path / "m" / name).stat().st_mtime_ns == times[name] for name in times if name.endswith(".npy"))
    assert times and not (tmp_path / "m" / ".packing").exists()


def test_a_first_run_that_was_stopped_is_begun_anew_with_overwrite(tmp_path, monkeypatch, capsys) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(swap, "write_checksums", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pack_made_up(OLD, tmp_path)
    capsys.readouterr()
    pack_made_up(OLD, tmp_path, overwrite=True)
    assert "going on" not in capsys.readouterr().err


def test_nothing_usable_leaves_the_old_directory(tmp_path) -> None:
    pack_made_up(OLD, tmp_path)
    old = contents(tmp_path / "m")
    for _ in range(2):
        with pytest.raises(DataError, match=r"no record could be used; .*/\.packing/rejected.tsv says why"):
            pack_made_up(made_up(3, report=[""] * 3), tmp_path, overwrite=True)
        assert visible(tmp_path / "m") == old
        assert len((tmp_path / "m" / ".packing" / "rejected.tsv").read_text().splitlines()) == 4
    pack_made_up(OLD, tmp_path)
    assert contents(tmp_path / "m") == old


def test_a_failing_extension_leaves_the_old_directory(tmp_path) -> None:
    pack_made_up(OLD, tmp_path)
    old = contents(tmp_path / "m")

    def fail(folder: Path) -> None:
        raise DataError("no such labels")

    from preprocess.packing.pack import PackingOptions, pack
    from tests.preprocess.packing.test_pack import read_made_up

    options = PackingOptions(rows_per_shard=4, overwrite=True)
    common = {"data_set": "made-up", "command": "test", "reader": read_made_up}
    with pytest.raises(DataError, match="no such labels"):
        pack(NEW, tmp_path, tmp_path / "m", options, extend=fail, **common)
    assert visible(tmp_path / "m") == old


def test_sidecars_that_know_their_source_stay_and_stay_listed(tmp_path) -> None:
    pack_made_up(OLD, tmp_path)
    with replacing(tmp_path / "m", ["train.n3s.npy", "labels.json"]):
        (tmp_path / "m" / "train.n3s.npy").write_bytes(b"negatives")
        write_json(tmp_path / "m" / "labels.json", {})
    pack_made_up(NEW, tmp_path, overwrite=True)
    names = set(read_checksums(tmp_path / "m"))
    assert "train.n3s.npy" in names and "labels.json" not in names
    assert (tmp_path / "m" / "train.n3s.npy").read_bytes() == b"negatives" and not (tmp_path / "m" / "labels.json").exists()


def test_a_file_that_comes_during_the_run_is_not_replaced(tmp_path) -> None:
    from preprocess.packing.pack import PackingOptions, pack
    from tests.preprocess.packing.test_pack import read_made_up

    def write_mine(folder: Path) -> None:
        (tmp_path / "m" / "train.tsv").write_text("mine")

    options = PackingOptions(rows_per_shard=4)
    common = {"data_set": "made-up", "command": "test", "reader": read_made_up}
    with pytest.raises(DataError, match="train.tsv came here during the run"):
        pack(OLD, tmp_path, tmp_path / "m", options, extend=write_mine, **common)
    assert (tmp_path / "m" / "train.tsv").read_text() == "mine"


def test_a_damaged_journal_is_one_line(tmp_path) -> None:
    pack_made_up(OLD, tmp_path)
    write_json(tmp_path / "m" / ".packing" / "swap.json", {"delete": ["../precious"], "move": []})
    (tmp_path / "precious").touch()
    with pytest.raises(DataError, match="swap.json: damaged"):
        pack_made_up(OLD, tmp_path)
    assert (tmp_path / "precious").exists()


def test_shards_of_a_run_that_an_earlier_version_began_are_used(tmp_path, monkeypatch) -> None:
    pack_made_up(OLD, tmp_path / "a")
    with monkeypatch.context() as patch:
        patch.setattr(swap, "write_checksums", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pack_made_up(OLD, tmp_path)
    for shard in (tmp_path / "m" / ".packing").glob("records-*.npy"):
        shard.rename(tmp_path / "m" / shard.name)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "m").glob("records-*.npy")}
    pack_made_up(OLD, tmp_path)
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "m").glob("records-*.npy")}
    assert contents(tmp_path / "m") == contents(tmp_path / "a" / "m")


def test_the_manifest_notes_its_store(tmp_path) -> None:
    pack_made_up(OLD, tmp_path)
    manifest = read_json(tmp_path / "m" / "manifest.json")
    assert manifest["fingerprints"]["store.json"] == fingerprint(tmp_path / "m" / "store.json")
    assert manifest["checksums"] == "checksums.json"
