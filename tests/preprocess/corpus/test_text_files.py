from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from cmelt_plugin.errors import DataError
from preprocess.corpus import document, text_files
from preprocess.corpus.text_files import JsonLines, PlainText, files_of


def documents(source, left_out=None):
    return list(source.documents(Counter() if left_out is None else left_out))


def test_empty_lines_divide_documents_and_full_stops_statements(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(
        "\ufeffSinus  rhythm, ca. 70/min.\nNormal ECG\n\n  \n***\n\nAtrial\u00a0fibrillation; no ischaemia.", encoding="utf-8"
    )
    left_out: Counter[str] = Counter()
    found = documents(PlainText(path), left_out)
    assert [one.name for one in found] == ["notes.txt:1", "notes.txt:7"] and left_out == {"empty": 1}
    assert found[0].statements == ["Sinus rhythm, ca. 70/min.", "Normal ECG"]
    assert found[1].statements == ["Atrial fibrillation;", "no ischaemia."]
    assert found[1].units == ["notes.txt:7"]


def test_json_lines_name_their_documents(tmp_path: Path) -> None:
    path = tmp_path / "wiki.jsonl.gz"
    lines = [{"id": 12, "text": "The heart. It beats."}, {"text": "Cafe\u0301"}, {"id": "x", "text": "–"}]
    with gzip.open(path, "wt", encoding="utf-8") as handle:
        handle.write("\n\n".join(map(json.dumps, lines)))
    left_out: Counter[str] = Counter()
    found = documents(JsonLines(path), left_out)
    assert [(one.name, list(one.statements)) for one in found] == [
        ("wiki.jsonl.gz:12", ["The heart.", "It beats."]),
        ("wiki.jsonl.gz:3", ["Café"]),
    ]
    assert left_out == {"empty": 1}


@pytest.mark.parametrize(
    ("line", "message"),
    [("{", "line 2: not JSON"), ("[1]", "line 2: expected an object"), ('{"text": 3}', "line 2: expected an object")]
    + [('{"text": "a", "id": [1]}', '"id" must be a text')],
)
def test_lines_that_are_no_documents_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "good"}\n' + line, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        documents(JsonLines(path))


def test_damaged_and_endless_files_are_refused(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\n\n\xff\xfe bad")
    with pytest.raises(DataError, match="cannot be read as UTF-8"):
        documents(PlainText(path))
    packed = tmp_path / "b.txt.gz"
    packed.write_bytes(gzip.compress(b"sinus rhythm\n\n" * 5000)[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        documents(PlainText(packed))
    for module in (document, text_files):
        monkeypatch.setattr(module, "LONGEST", 50)
    path.write_text("a" * 60)
    with pytest.raises(DataError, match="line 1: longer than 50 characters"):
        documents(PlainText(path))
    path.write_text("abc\n" * 20)
    with pytest.raises(DataError, match="line 1: no empty line within 50"):
        documents(PlainText(path))


def test_folders_give_their_files_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt.gz", "c.md", "one.doc"):
        (tmp_path / name).touch()
    named = files_of([tmp_path, tmp_path / "one.doc"], PlainText.endings)
    assert [path.name for path in named] == ["a.txt.gz", "b.txt", "one.doc"]
    with pytest.raises(DataError, match="no file \\*.jsonl or \\*.jsonl.gz in it"):
        files_of([tmp_path], JsonLines.endings)
    with pytest.raises(DataError, match="nowhere: no such file"):
        files_of([tmp_path / "nowhere"], JsonLines.endings)
