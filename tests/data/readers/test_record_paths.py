"""What users type for records: names that look like patterns, lists or nothing a file can be called."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from cmelt_plugin.data.readers.record_paths import find_records
from cmelt_plugin.errors import DataError

ODD = [
    "a[1]",
    "a*b",
    "what?",
    "100%",
    "100%d %(x)s",
    "heart 😀",
    " blanks ",
    "-dash",
    "@at",
    "#hash",
    "{x}",
    "two\nlines",
    unicodedata.normalize("NFC", "Übergröße"),
    unicodedata.normalize("NFD", "Übergröße"),
    "x" * 251,  # with its suffix as long as names can be
]


def touch(folder: Path, *names: str) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.hea").write_text("")
    return [str(folder / name) for name in names]


@pytest.mark.parametrize("suffix", ["", ".hea", ".dat"])
def test_a_record_that_exists_is_no_pattern(tmp_path: Path, suffix: str) -> None:
    paths = touch(tmp_path, *ODD, "a1", "axb")
    for path in paths:
        assert find_records([path + suffix]) == [path]
    assert find_records([str(tmp_path)]) == sorted(paths)
    assert find_records([str(tmp_path / "a[0-9].hea")]) == [str(tmp_path / "a1")]


def test_names_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, *ODD)
    monkeypatch.chdir(tmp_path)
    for name in ODD:
        assert find_records([name]) == [name]
    assert find_records(["./@at", "*dash*"]) == ["./@at", "-dash"]
    assert find_records(["**/*dash*"]) == ["-dash"]


def test_folders_with_odd_names_hold_patterns(tmp_path: Path) -> None:
    folder = tmp_path / "data[1]" / "50%*"
    first, second, deep = [*touch(folder, "r1", "r2"), *touch(folder / "b[ä]", "r3")]
    assert find_records([f"{folder}/*.hea"]) == [first, second]
    assert find_records([f"{folder}/**/*.hea"]) == sorted([first, second, deep])
    assert find_records([f"{folder}/**"]) == sorted([first, second, deep])
    assert find_records([f"{tmp_path}/*/*/**/r?.hea"]) == sorted([first, second, deep])
    assert find_records([f"{tmp_path}/**/b*/**/r3*"]) == [deep]


def test_links_in_a_circle_list_each_record_once(tmp_path: Path) -> None:
    (record,) = touch(tmp_path / "a" / "b", "r1")
    for name in ("one", "two"):  # two of them: 2^40 ways to the same file
        (tmp_path / "a" / "b" / name).symlink_to(tmp_path / "a", target_is_directory=True)
    assert find_records([f"{tmp_path}/**/*.hea"]) == [record]
    assert find_records([str(tmp_path)]) == [record]


def test_lists_keep_odd_names(tmp_path: Path) -> None:
    names = [name for name in ODD if "\n" not in name]
    paths = touch(tmp_path, *names)
    (tmp_path / "list.txt").write_text("\ufeff# today's\r\n" + "\n".join([*names, "", "  missing  "]), encoding="utf-8")
    assert find_records([f"@{tmp_path / 'list.txt'}"]) == [*paths, str(tmp_path / "missing")]


@pytest.mark.parametrize("name", ["nul\0", "x" * 5000, "half \udcff", "a[", "**", ""])
def test_impossible_names_are_no_traceback(tmp_path: Path, name: str) -> None:
    try:
        found = find_records([os.path.join(tmp_path, name)])
    except DataError as error:
        assert "no WFDB record" in str(error)
    else:
        assert len(found) == 1  # reading it says that it is missing
