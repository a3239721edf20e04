"""Which token file belongs to a model."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import token_table

from cmelt_plugin.data.text.reports import write_reports
from cmelt_plugin.data.text.token_files import find_token_file, open_token_file
from cmelt_plugin.data.text.tokens import read_info
from cmelt_plugin.errors import DataError


def write_tables(directory: Path, **files: tuple[str, int]) -> Path:
    """``reports.TAG.npz`` of a tokenizer's fingerprint, cut at so many tokens; its first token is that number."""
    write_reports(directory, ["the report"], [1])
    for tag, (fingerprint, max_tokens) in files.items():
        table = token_table([[max_tokens]], directory / "reports.parquet")
        table.info.update(fingerprint=fingerprint, tokenizer=tag, max_tokens=max_tokens)
        table.save(directory / f"reports.{tag}.npz")
    return directory


def test_the_only_file_is_taken_where_no_tokenizer_is_known_yet(tmp_path: Path) -> None:
    assert open_token_file(write_tables(tmp_path, a=("x", 8)), "reports")[0][0] == 8
    assert find_token_file(tmp_path, "reports", None) is None


def test_of_several_files_that_of_the_model_is_taken_and_of_these_the_one_that_cuts_last(tmp_path: Path) -> None:
    write_tables(tmp_path, a=("x", 8), b=("y", 9), c=("y", 20), d=("y", 7))
    assert open_token_file(tmp_path, "reports", fingerprint="y")[0][0] == 20
    assert find_token_file(tmp_path, "reports", "y")[0][0] == 20
    assert open_token_file(tmp_path, "reports", tag="b", fingerprint="y")[0][0] == 9
    with pytest.raises(DataError, match=r"several token files for reports.parquet: .*task\.tokenizer=TAG"):
        open_token_file(tmp_path, "reports")
    with pytest.raises(DataError, match="none of them made with the tokenizer the model was trained with"):
        open_token_file(tmp_path, "reports", fingerprint="z")
    assert find_token_file(tmp_path, "reports", "z") is None


def test_a_file_of_another_tokenizer_or_of_a_larger_vocabulary_is_refused(tmp_path: Path) -> None:
    write_tables(tmp_path, a=("x", 8))
    for tag in (None, "a"):
        with pytest.raises(DataError, match="made with the tokenizer 'a', which is not the one"):
            open_token_file(tmp_path, "reports", tag, fingerprint="y")
    with pytest.raises(DataError, match=r"reports\.a\.npz: does not hold the statements of reports\.parquet"):
        write_reports(tmp_path, ["the report"], [1], [["the", "report"]])
        open_token_file(tmp_path, "reports", statements=True)
    assert len(open_token_file(tmp_path, "reports")) == 1
    with pytest.raises(DataError, match="vocabulary of 60 tokens, the text encoder one of 10"):
        open_token_file(tmp_path, "reports", vocab_size=10)


def test_a_file_that_is_missing_stale_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no token file prompts\.TAG\.npz for prompts\.json; run preprocess/tokenizer\.py"):
        open_token_file(tmp_path, "prompts")
    write_tables(tmp_path, a=("x", 8), b=("y", 8))
    with pytest.raises(DataError, match=r"no token file reports\.c\.npz"):
        open_token_file(tmp_path, "reports", "c")
    (tmp_path / "reports.b.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"reports\.b\.npz: damaged"):
        find_token_file(tmp_path, "reports", "x")
    with pytest.raises(DataError, match="no such file"):
        read_info(tmp_path / "reports.c.npz")
    write_reports(tmp_path, ["another report"], [1])
    with pytest.raises(DataError, match="stale"):
        open_token_file(tmp_path, "reports", "a")
