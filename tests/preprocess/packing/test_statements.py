"""Statements of packed reports, and directories from before they were kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from report_texts import write_format_1

from cmelt_plugin.data.batches.negatives import NegativeTable
from cmelt_plugin.data.directory.replacing import replacing
from cmelt_plugin.data.files import fingerprint
from cmelt_plugin.data.readers.contract import Recording
from cmelt_plugin.data.text.reports import normalise_report, read_reports, write_reports
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from preprocess.packing.options import PackingOptions
from preprocess.packing.pack import pack, records_fingerprint
from preprocess.packing.records import RECORDS_SCHEMA, STATEMENTS_COLUMN, records_table
from preprocess.packing.reuse import reuse_store
from preprocess.packing.statements import divide
from tests.preprocess.mimic_layout import make_ecg
from tests.support.tiny import token_table

FIELDS = [("Sinus rhythm", "Normal EKG"), ("Sinus rhythm Normal ECG",), ("Sinus rhythm", "---", "Normal ECG"), ("LBBB.",), ()]
LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", *(f"V{number}" for number in range(1, 7))]


def table_of(reports) -> pa.Table:
    names = [f"r{number}" for number in range(len(reports))]
    return records_table(record_id=names, path=names, subject_id=names, report=reports, split=["train"] * len(names))


def read_made_up(path) -> Recording:
    return Recording(make_ecg(int(Path(path).name[1:])), LEADS, ["mV"] * 12, 500)


def pack_made_up(folder: Path, reports=FIELDS, **options) -> None:
    """Pack one record for each report."""
    common = {"data_set": "made-up", "command": "pack", "reader": read_made_up}
    pack(table_of(reports), folder.parent, folder, PackingOptions(require_report=False, **options), **common)


def test_records_keep_text_and_statements() -> None:
    table = table_of(FIELDS)
    assert table["report"].to_pylist() == [*["sinus rhythm normal ecg"] * 3, "lbbb", ""]
    assert table["report"].to_pylist() == [normalise_report(" ".join(fields)) for fields in FIELDS]
    lines = ["sinus rhythm\nnormal ecg", "sinus rhythm normal ecg", "sinus rhythm\nnormal ecg", "lbbb", ""]
    assert table[STATEMENTS_COLUMN].to_pylist() == lines
    free = table_of(["Sinus rhythm. Normal EKG.", "a\nb", ""])
    assert free[STATEMENTS_COLUMN].to_pylist() == ["sinus rhythm\nnormal ecg", "a\nb", ""]
    assert free["report"].to_pylist() == ["sinus rhythm normal ecg", "a b", ""]


def test_directories_begun_before_have_the_same_plan() -> None:
    table = table_of(FIELDS)
    assert records_fingerprint(table) == records_fingerprint(table.select(RECORDS_SCHEMA.names))


@pytest.mark.parametrize(
    ("reports", "statements"),
    [
        (FIELDS, {"sinus rhythm normal ecg": ["sinus rhythm", "normal ecg"], "lbbb": ["lbbb"]}),
        ([("a b",), ("a", "b"), ("a b",)], {"a b": ["a b"]}),
        ([("a", "b"), ("a b",)], {"a b": ["a", "b"]}),
        ([("a b",), ("a", "b")], {"a b": ["a b"]}),
        ([()], {}),
    ],
)
def test_most_records_decide_how_a_text_is_divided(reports, statements) -> None:
    assert divide(table_of(reports)) == statements
    assert divide(table_of(reports).drop_columns([STATEMENTS_COLUMN])) == {}


def test_packing_keeps_the_statements(tmp_path: Path, capsys) -> None:
    pack_made_up(tmp_path / "m")
    reports = read_reports(tmp_path / "m")
    assert reports.statements.to_pylist() == [["sinus rhythm", "normal ecg"], ["lbbb"]] and reports.statements_kept
    assert reports.counts.tolist() == [3, 1]
    manifest = json.loads((tmp_path / "m" / "manifest.json").read_text())
    assert (manifest["reports"], manifest["statements"]) == (2, 3)
    assert "unique reports: 2 of 3 statements" in capsys.readouterr().out


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """A directory as an earlier version left it, with token ids and negatives."""
    folder = tmp_path / "m"
    pack_made_up(folder)
    with replacing(folder, ["reports.parquet"]):
        path = write_format_1(folder, ["sinus rhythm normal ecg", "lbbb"], [3, 1])
    table = token_table([[3, 4], [5]])
    table.info["source_fingerprint"] = fingerprint(path)
    table.save(folder / "reports.tiny.npz")
    negatives = NegativeTable(np.array([[1], [0]], dtype=np.int32), {"reports_fingerprint": fingerprint(path)})
    negatives.save(folder, "train")
    return folder


def others(folder: Path) -> dict[str, bytes]:
    names = {path.name: path for path in folder.iterdir() if path.is_file()}
    return {name: path.read_bytes() for name, path in names.items() if name not in ("reports.parquet", "checksums.json")}


@pytest.mark.parametrize("from_store", [False, True])
def test_the_same_command_adds_statements_and_packs_nothing(former, tmp_path, capsys, from_store) -> None:
    folder = former
    if from_store:
        (tmp_path / "store").mkdir()
        pack_made_up(tmp_path / "store" / "m")
        arguments = (table_of(FIELDS), tmp_path / "store" / "m", tmp_path / "reused", PackingOptions(require_report=False))
        reuse_store(*arguments, data_set="made-up", command="pack")
        folder = tmp_path / "reused"
        with replacing(folder, ["reports.parquet"]):
            write_format_1(folder, ["sinus rhythm normal ecg", "lbbb"], [3, 1])
    before = others(folder)
    capsys.readouterr()
    for expected in (["now has the 3 statements of its 2 reports"], []):
        pack_made_up(folder) if not from_store else reuse_store(*arguments, data_set="made-up", command="pack")
        out = capsys.readouterr().out
        assert [line for line in expected if line in out] == expected and ("now has" in out) == bool(expected)
        assert "was complete already" in out
    assert read_reports(folder).statements.to_pylist() == [["sinus rhythm", "normal ecg"], ["lbbb"]]
    assert read_reports(folder).counts.tolist() == [3, 1]
    assert others(folder) == before
    if not from_store:
        assert len(TokenTable.load(folder / "reports.tiny.npz", folder / "reports.parquet")) == 2
        assert len(NegativeTable.load(folder, "train")) == 2


def test_overwriting_with_the_same_texts_keeps_what_was_made_from_them(former: Path) -> None:
    pack_made_up(former, overwrite=True)
    assert read_reports(former).statements_kept
    assert len(TokenTable.load(former / "reports.tiny.npz", former / "reports.parquet")) == 2
    assert len(NegativeTable.load(former, "train")) == 2
    pack_made_up(former, [("other",), ("LBBB.",)], overwrite=True)
    with pytest.raises(DataError, match="stale, reports.parquet"):
        TokenTable.load(former / "reports.tiny.npz", former / "reports.parquet")
    with pytest.raises(DataError, match="stale, reports.parquet"):
        NegativeTable.load(former, "train")


def test_reports_changed_by_hand_are_left_alone(former: Path) -> None:
    write_reports(former, ["mine", "lbbb"], [3, 1])
    pack_made_up(former)
    assert read_reports(former).texts.to_pylist() == ["mine", "lbbb"] and not read_reports(former).statements_kept
