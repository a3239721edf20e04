"""preprocess/upgrade.py: format 1 to format 2, nothing else changed, what is lost said, what is stale refused."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from report_texts import make_reports, write_directory, write_format_1, write_wordpiece

from cmelt_plugin.data.batches.negatives import NegativeTable
from cmelt_plugin.data.directory.replacing import entry_of, write_checksums
from cmelt_plugin.data.directory.verification import check_directory
from cmelt_plugin.data.files import fingerprint, write_json
from cmelt_plugin.data.text.reports import read_reports, write_reports
from cmelt_plugin.data.text.tokenizer import encode, load_tokenizer
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from preprocess import n3s, tokenizer, upgrade
from tests.preprocess.packing.test_swap import killed_at, visible

N = 20


def write_former(directory: Path) -> Path:
    """A directory as an earlier version left it: reports, WordPiece ids, negatives and checksums."""
    write_directory(directory, N)
    (directory / "bert").mkdir()
    texts = make_reports(N)
    source = write_format_1(directory, texts, read_reports(directory).counts)
    rows, _ = encode(load_tokenizer(str(write_wordpiece(directory / "bert", texts))), texts, 256)
    info = {"format": 1, "tokenizer": "bert", "source_fingerprint": fingerprint(source), "max_tokens": 256}
    tokenizer.main(["--manifest", str(directory), "--tokenizer", str(directory / "bert")])
    found = TokenTable.load(directory / "reports.bert.npz").info
    del found["statements_fingerprint"]
    table = TokenTable(np.concatenate(rows), np.cumsum([0, *map(len, rows)]), {**found, **info})
    table.save(directory / "reports.bert.npz")
    n3s.main(["--manifest", str(directory), "--embedder", "tfidf", "--strategy", "farthest", "--k", "3"])
    described = json.loads((directory / "train.n3s.json").read_text())
    write_json(directory / "train.n3s.json", {**described, "reports_fingerprint": fingerprint(source)})
    write_json(directory / "manifest.json", {"format": 1, "command": "preprocess/mimic_iv_ecg.py", "arguments": {}})
    names = [path.name for path in directory.iterdir() if path.is_file()]
    write_checksums(directory, {name: entry_of(directory / name) for name in names})
    return directory


@pytest.fixture
def former(tmp_path: Path) -> Path:
    return write_former(tmp_path / "d")


def run(directory: Path) -> None:
    assert upgrade.main(["--manifest", str(directory)]) == 0


def test_texts_ids_and_negatives_stay_and_what_is_lost_is_said(former: Path, capsys) -> None:
    before, reports = visible(former), read_reports(former)
    table = TokenTable.load(former / "reports.bert.npz", former / "reports.parquet")
    capsys.readouterr()
    run(former)
    out = capsys.readouterr().out
    assert f"{former / 'reports.parquet'}: brought to format 2, {N} statements of {N} reports" in out
    assert f"{former / 'reports.bert.npz'}: brought to format 2" in out
    assert "what cannot be known: where statements ended" in out and "`python preprocess/mimic_iv_ecg.py` with the argum" in out
    upgraded = read_reports(former)
    assert upgraded.format == 2 and not upgraded.statements_kept
    assert upgraded.texts == reports.texts and upgraded.counts.tolist() == reports.counts.tolist()
    assert upgraded.statements.to_pylist() == [[text] for text in reports.texts.to_pylist()]
    after = visible(former)
    assert {name for name in after if after[name] != before.get(name)} == {
        "reports.parquet",
        "reports.bert.npz",
        "checksums.json",
    }
    new = TokenTable.load(former / "reports.bert.npz", former / "reports.parquet", statements=True)
    assert new.ids.tolist() == table.ids.tolist() and new.offsets.tolist() == table.offsets.tolist()
    assert new.info["format"] == 2 and new.statements is not None
    assert [new.spans(index).tolist() for index in range(N)] == [[[1, length - 1]] for length in new.lengths()]
    assert len(NegativeTable.load(former, "train")) == N
    assert not [line for line in check_directory(former).findings if "train" not in line]  # there are no recordings


def test_the_commands_find_everything_up_to_date_afterwards(former: Path, capsys) -> None:
    run(former)
    before = visible(former)
    capsys.readouterr()
    run(former)
    assert f"reports.parquet: is of format 2, {N} statements" in capsys.readouterr().out
    n3s.main(["--manifest", str(former), "--embedder", "tfidf", "--strategy", "farthest", "--k", "3"])
    tokenizer.main(["--manifest", str(former), "--tokenizer", str(former / "bert")])
    out = capsys.readouterr().out
    assert "train: up to date" in out and "reports.bert.npz: up to date" in out
    assert visible(former) == before


def test_killed_anywhere_the_directory_can_be_used_and_the_next_run_ends_the_same(tmp_path: Path) -> None:
    whole = write_former(tmp_path / "whole")
    run(whole)
    expected, operation = visible(whole), 1
    while True:
        folder = write_former(tmp_path / str(operation))
        killed = killed_at(operation, functools.partial(run, folder))
        assert len(TokenTable.load(folder / "reports.bert.npz", folder / "reports.parquet")) == N
        assert len(NegativeTable.load(folder, "train")) == N
        run(folder)
        assert visible(folder) == expected
        if not killed:
            break
        operation += 1
    assert operation > 6


@pytest.mark.parametrize("name", ["reports.bert.npz", "train.n3s.npy"])
def test_what_is_stale_is_refused_and_nothing_changed(former: Path, name: str) -> None:
    write_reports(former, make_reports(N, seed=1), np.ones(N))
    write_format_1(former, make_reports(N, seed=1), np.ones(N))
    (former / "checksums.json").unlink()
    if name == "reports.bert.npz":
        for path in former.glob("train.n3s.*"):
            path.unlink()
    before = visible(former)
    with pytest.raises(DataError, match=f"{name}: stale, reports.parquet has changed"):
        run(former)
    assert visible(former) == before


def test_damaged_reports_and_missing_ones_are_refused(former: Path, tmp_path: Path) -> None:
    data = bytearray((former / "reports.parquet").read_bytes())
    data[-20] ^= 1
    (former / "reports.parquet").write_bytes(data)
    with pytest.raises(DataError, match="reports.parquet: changed since it was written"):
        run(former)
    with pytest.raises(DataError, match="no such folder"):
        run(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="reports.parquet: no such file"):
        run(tmp_path / "empty")


def test_texts_with_marks_are_divided_and_their_tokens_need_the_tokenizer(former: Path, capsys) -> None:
    texts = [*make_reports(N)[:-1], "sinus rhythm. normal ecg"]
    path = write_format_1(former, texts, np.ones(N))
    for name in ("checksums.json", "train.n3s.json", "train.n3s.npy"):
        (former / name).unlink()
    table = TokenTable.load(former / "reports.bert.npz")
    TokenTable(np.array(table.ids), table.offsets, {**table.info, "source_fingerprint": fingerprint(path)}).save(
        former / "reports.bert.npz"
    )
    run(former)
    assert read_reports(former).statements.to_pylist()[-1] == ["sinus rhythm.", "normal ecg"]
    assert "reports.bert.npz: does not hold the statements of reports.parquet; run `python preproc" in capsys.readouterr().out


def test_reports_that_have_their_statements_lost_nothing(former: Path, capsys) -> None:
    statements = [text.split(" ", 1) if " " in text else [text] for text in make_reports(N)]
    write_reports(former, make_reports(N), read_reports(former).counts, statements)
    capsys.readouterr()
    run(former)
    out = capsys.readouterr().out
    assert "cannot be known" not in out and "does not hold the statements" in out
    tokenizer.main(["--manifest", str(former), "--tokenizer", str(former / "bert")])
    assert "made again, for the statements of the reports; the ids stay" in capsys.readouterr().out
    table = TokenTable.load(former / "reports.bert.npz", former / "reports.parquet", statements=True)
    model = load_tokenizer(str(former / "bert"))
    for index, parts in enumerate(statements):
        assert [model.decode(table[index][start:stop]) for start, stop in table.spans(index)] == parts
    run(former)
    assert "reports.bert.npz: is of format 2" in capsys.readouterr().out
