"""What a packing command may replace at --dest, and what it leaves alone."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from cmelt_plugin.data.directory.own_files import is_part, own_files, target_of_temporary
from cmelt_plugin.data.files import fingerprint, read_json, write_json
from cmelt_plugin.errors import DataError
from preprocess import mimic_iv_ecg
from preprocess.packing.destination import refuse_overlap
from tests.preprocess.mimic_layout import write_mimic_layout
from tests.preprocess.packing.test_pack import made_up, pack_made_up


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): fingerprint(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def arguments(**paths: Path) -> argparse.Namespace:
    return argparse.Namespace(**{"root": Path("/data"), "dest": Path("/m"), "jobs": 1, "store": None, **paths})


def test_folders_that_overlap_are_refused(tmp_path) -> None:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    root = tmp_path / "data"
    refuse_overlap(arguments(root=root, dest=tmp_path / "m", table=tmp_path / "t.csv"))
    refuse_overlap(arguments(root=root, dest=tmp_path / "data2"))
    refuse_overlap(arguments(root=root, dest=tmp_path / "m", store=tmp_path / "m" / "store"))
    for dest, message in [
        (root, "is --root itself"),
        (tmp_path / "link", "is --root itself"),
        (root / "sub", "lies in --root"),
        (tmp_path / "link" / "new" / "m", "lies in --root"),
        (tmp_path, "--root .* lies in it"),
        (root / ".." / "data", "is --root itself"),
    ]:
        with pytest.raises(DataError, match=message):
            refuse_overlap(arguments(root=root, dest=dest))
    with pytest.raises(DataError, match="--table .*t.csv lies in it"):
        refuse_overlap(arguments(root=root, dest=tmp_path / "m", table=tmp_path / "m" / "t.csv"))


def test_a_typing_error_in_root_leaves_a_finished_directory(tmp_path) -> None:
    write_mimic_layout(tmp_path / "r", [{}, {}])
    dest = tmp_path / "m"
    assert mimic_iv_ecg.main(["--root", str(tmp_path / "r"), "--dest", str(dest), "--jobs", "1"]) == 0
    before = contents(dest)
    (tmp_path / "r" / "record_list.csv").write_text("x")
    for root in ("typo", "r"):
        with pytest.raises(DataError):
            mimic_iv_ecg.main(["--root", str(tmp_path / root), "--dest", str(dest), "--jobs", "1", "--overwrite"])
        assert contents(dest) == before


@pytest.mark.parametrize("name", ["patients.tsv", "records-00007.npy", "notes.txt", "other.labels.npy", "table.parquet"])
def test_files_of_others_are_named_and_not_touched(tmp_path, name) -> None:
    pack_made_up(made_up(6), tmp_path)
    (tmp_path / "m" / name).write_text("precious")
    before = contents(tmp_path / "m")
    with pytest.raises(DataError, match=f"unknown origin, which no packing command wrote: {name}"):
        pack_made_up(made_up(6), tmp_path, overwrite=True)
    assert contents(tmp_path / "m") == before
    (tmp_path / "m" / name).unlink()
    pack_made_up(made_up(6), tmp_path, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_others_is_not_packed_into(tmp_path, overwrite) -> None:
    (tmp_path / "m").mkdir()
    for name in ("train.tsv", "manifest.json", "store.json", "records-00000.npy"):
        (tmp_path / "m" / name).write_text('{"name": "my web application"}')
        with pytest.raises(DataError, match=f"unknown origin.*{name}|made with other arguments"):
            pack_made_up(made_up(3), tmp_path, overwrite=overwrite)
        assert [path.name for path in (tmp_path / "m").iterdir()] == [name]
        (tmp_path / "m" / name).unlink()


def test_hidden_files_folders_and_what_readers_ignore_stay(tmp_path) -> None:
    (tmp_path / "m" / "figures").mkdir(parents=True)
    for name in (".notes", ".x.tmp.y", ".notes.0123abcd.tmp.txt", "README.txt", "figures/a.png"):
        (tmp_path / "m" / name).write_text("mine")
    pack_made_up(made_up(3), tmp_path)
    (tmp_path / "m" / "README.txt").unlink()
    pack_made_up(made_up(3), tmp_path, overwrite=True)
    for name in (".notes", ".x.tmp.y", ".notes.0123abcd.tmp.txt", "figures/a.png"):
        assert (tmp_path / "m" / name).read_text() == "mine"


@pytest.mark.parametrize("kind", ["file in it", "folder in it", "link", "file"])
def test_a_work_folder_of_somebody_else_is_left_alone(tmp_path, kind) -> None:
    work, other = tmp_path / "m" / ".packing", tmp_path / "other"
    work.parent.mkdir()
    other.mkdir()
    if kind == "link":
        work.symlink_to(other)
    elif kind == "file":
        work.write_text("mine")
    else:
        (work / "mine").mkdir(parents=True)
        (work / "mine" / "thesis.txt" if kind == "folder in it" else work / "thesis.txt").write_text("mine")
    before = contents(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(DataError, match=r"\.packing: .*move"):
            pack_made_up(made_up(3), tmp_path, overwrite=overwrite)
    assert contents(tmp_path) == before


def test_temporary_files_of_killed_commands_go(tmp_path) -> None:
    pack_made_up(made_up(3), tmp_path)
    (tmp_path / "m" / ".train.labels.0123abcd.tmp.npy").touch()
    pack_made_up(made_up(3), tmp_path)
    assert not (tmp_path / "m" / ".train.labels.0123abcd.tmp.npy").exists()


@pytest.mark.parametrize(
    "name, target",
    [
        (".train.0123abcd.tmp.tsv", "train.tsv"),
        (".train.labels.0123abcd.tmp.npy", "train.labels.npy"),
        (".train.0123ABCD.tmp.tsv", None),
        (".train.tmp.tsv", None),
        ("train.0123abcd.tmp.tsv", None),
        (".notes.0123abcd.tmp", "notes"),
    ],
)
def test_names_of_temporary_files(name, target) -> None:
    assert target_of_temporary(name) == target


def test_a_directory_made_before_there_were_checksums_is_replaced(tmp_path) -> None:
    pack_made_up(made_up(6), tmp_path)
    new = contents(tmp_path / "m")
    (tmp_path / "m" / "checksums.json").unlink()
    manifest = read_json(tmp_path / "m" / "manifest.json")
    del manifest["checksums"], manifest["fingerprints"]["store.json"]
    write_json(tmp_path / "m" / "manifest.json", manifest)
    (tmp_path / "m" / "train.labels.npy").touch()
    assert own_files(tmp_path / "m") == {path.name for path in (tmp_path / "m").iterdir()}
    pack_made_up(made_up(6), tmp_path)  # complete already
    assert not (tmp_path / "m" / "checksums.json").exists()
    pack_made_up(made_up(6), tmp_path, overwrite=True)
    assert contents(tmp_path / "m") == new


def test_names_that_readers_look_for() -> None:
    for name in ("train.tsv", "x.meta.parquet", "records-00000.npy", "reports.t5.npz", "prompts.json", "a.n3s.json"):
        assert is_part(name)
    for name in ("train.csv", "records.npy", "reports.npz", ".train.tsv", "figure.npy", "reports.txt"):
        assert not is_part(name)


@pytest.mark.parametrize("name", ["checksums.json", "manifest.json", "store.json"])
def test_a_damaged_directory_is_replaced(tmp_path, name) -> None:
    pack_made_up(made_up(6), tmp_path)
    new = contents(tmp_path / "m")
    for text in ("", '{"format": 1'):
        (tmp_path / "m" / name).write_text(text)
        pack_made_up(made_up(6), tmp_path, overwrite=True)
        assert contents(tmp_path / "m") == new


def test_a_store_that_names_other_files_does_not_make_them_ours(tmp_path) -> None:
    (tmp_path / "m").mkdir()
    write_json(tmp_path / "m" / "store.json", {"unit": "mV", "shards": [{"file": "precious.csv", "rows": 1}]})
    (tmp_path / "m" / "precious.csv").touch()
    with pytest.raises(DataError, match="precious.csv"):
        pack_made_up(made_up(3), tmp_path, overwrite=True)
    assert (tmp_path / "m" / "precious.csv").exists()


def test_a_split_without_records_has_no_files_of_ours(tmp_path) -> None:
    pack_made_up(made_up(6, split=["train"] * 6), tmp_path)
    (tmp_path / "m" / "valid.tsv").write_text("mine")
    with pytest.raises(DataError, match="valid.tsv"):
        pack_made_up(made_up(6), tmp_path, overwrite=True)
