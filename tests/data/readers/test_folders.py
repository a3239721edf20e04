"""Finding records below a folder that links lead through in circles."""

import os

import pytest

from cmelt_plugin.data.readers.folders import find_stems, walk
from preprocess.data_sets import challenge_records, physionet2021_records


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def test_each_folder_once_however_many_links_lead_to_it(tmp_path):
    touch(tmp_path, "z/a/A0001.hea", "z/b/A0002.mat", "out/A0003.hea")
    root = tmp_path / "z"
    (root / "a" / "up").symlink_to("..")
    (root / "b" / "self").symlink_to(".")
    (root / "0").symlink_to("a")
    (root / "1").symlink_to("../out")
    (root / "2").symlink_to("../out")
    assert find_stems(root, (".hea", ".mat")) == ["1/A0003", "a/A0001", "b/A0002"]
    assert physionet2021_records.find_records(root) == ["1/A0003", "a/A0001", "b/A0002"]
    assert challenge_records.find_records(root, r"A\d{4}", ".hea") == [("A0001", "a/A0001"), ("A0003", "1/A0003")]
    assert sorted(folder for folder, _ in walk(root)) == [".", "1", "a", "b"]


def test_each_record_once_however_many_links_lead_to_it(tmp_path):
    touch(tmp_path, "a/A1.hea", "a/A1.mat", "a/B2.hea", "a/B2.mat", "store/5f3.mat", "store/C3.hea")
    (tmp_path / "b").mkdir()
    for name in ("A1.hea", "A1.mat"):
        (tmp_path / "b" / name).symlink_to(f"../a/{name}")
    (tmp_path / "a" / "D4.hea").symlink_to("B2.hea")  # under another name it is another record
    (tmp_path / "b" / "E5.mat").symlink_to("../store/5f3.mat")  # as git-annex keeps them
    for folder in ("b", "c"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "F6.hea").symlink_to(tmp_path.parent / "elsewhere" / "F6.hea")
    assert find_stems(tmp_path / "a", (".hea",)) == ["A1", "B2", "D4"]
    found = find_stems(tmp_path, (".hea", ".mat"))
    assert found == ["a/A1", "a/B2", "a/D4", "b/E5", "b/F6", "store/5f3", "store/C3"]


def test_links_that_lead_nowhere_are_listed_for_the_reader_to_judge(tmp_path):
    (tmp_path / "A1.hea").symlink_to("A1.hea")
    (tmp_path / "A2.hea").symlink_to("missing.hea")
    assert find_stems(tmp_path, (".hea",)) == ["A1", "A2"]


def test_names_that_are_no_utf8_are_left_out(tmp_path, capsys):
    touch(tmp_path, "A1.hea")
    try:
        open(os.fsencode(tmp_path) + b"/B\xff.hea", "w").close()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert find_stems(tmp_path, (".hea",)) == ["A1"]
    assert "warning: 1 files whose names are not UTF-8 are left out, such as B\\udcff" in capsys.readouterr().err
