from __future__ import annotations

import pytest
from corpora import write_documents

from cmelt_plugin.data.corpus.documents import CORPUS_FILE, documents_path, read_description, read_documents
from cmelt_plugin.data.files import read_json, write_json
from cmelt_plugin.errors import DataError

DOCUMENTS = [("a", ["sinus rhythm", "normal ecg"]), ("b", ["atrial fibrillation"])]


def test_documents_are_read_in_order_by_column(tmp_path) -> None:
    write_documents(tmp_path, {"train": DOCUMENTS})
    assert read_description(tmp_path)["splits"] == {"train": {"documents": 2}}
    (batch,) = read_documents(tmp_path, "train")
    assert batch.to_pylist()[0] == {"document": "a", "kind": "report", "statements": ["sinus rhythm", "normal ecg"]}
    (batch,) = read_documents(tmp_path, "train", ["statements", "document"])
    assert batch.schema.names == ["statements", "document"]


def test_what_is_missing_damaged_or_newer_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="written by preprocess/text_corpus.py, and this one last"):
        read_description(tmp_path)
    write_documents(tmp_path, {"train": DOCUMENTS})
    with pytest.raises(DataError, match="no documents for valid"):
        list(read_documents(tmp_path, "valid"))
    path = documents_path(tmp_path, "train")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="unreadable"):
        list(read_documents(tmp_path, "train"))
    write_json(tmp_path / CORPUS_FILE, {**read_json(tmp_path / CORPUS_FILE), "format": 2})
    with pytest.raises(DataError, match="format 2, this version reads format 1"):
        read_description(tmp_path)
