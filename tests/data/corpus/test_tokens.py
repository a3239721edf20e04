from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from corpora import write_bert, write_corpus, write_documents

from cmelt_plugin.data.corpus.tokens import CorpusTokens
from cmelt_plugin.data.directory.replacing import entry_of, write_checksums
from cmelt_plugin.errors import DataError


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def corpus(bert: Path, tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus", bert)


def changed(path: Path, **arrays: object) -> None:
    with np.load(path) as file:
        kept = {name: file[name] for name in file.files}
    info = json.loads(kept["info"].tobytes())
    info.update(arrays.pop("info", {}))
    kept.update(arrays, info=np.frombuffer(json.dumps(info).encode(), dtype=np.uint8))
    np.savez(path, **kept)


def test_pickled_tables_map_the_file_again(corpus: Path) -> None:
    tokens = CorpusTokens.load(corpus, "train", "bert")
    again = pickle.loads(pickle.dumps(tokens))
    assert len(pickle.dumps(tokens.ids)) < 1000
    np.testing.assert_array_equal(again.ids.array, tokens.ids.array)
    np.testing.assert_array_equal(again.begins_word.array, tokens.begins_word.array)


def test_the_only_file_is_found_and_several_need_a_name(corpus: Path) -> None:
    assert len(CorpusTokens.load(corpus, "valid").document_offsets) == 9
    (corpus / "valid.other.npz").write_bytes((corpus / "valid.bert.npz").read_bytes())
    with pytest.raises(DataError, match="choose one with task.tokenizer=TAG"):
        CorpusTokens.load(corpus, "valid")
    with pytest.raises(DataError, match="no token ids valid.mine.npz; run preprocess/tokenizer.py --corpus"):
        CorpusTokens.load(corpus, "valid", "mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": np.array([3], dtype=np.int32)}, "offsets do not span"),
        ({"begins_word": np.zeros(3, dtype=bool)}, "not one beginning for every id"),
        ({"ids": np.array([3.0])}, "ids is not a list of int32"),
        ({"document_offsets": np.array([0, 5, 2], dtype=np.int64)}, "offsets"),
        ({"info": {"vocab_size": 6}}, "ids outside of 0..5"),
        ({"info": {"first_ids": [1000]}}, "first_ids is"),
        ({"info": {"mask_id": -1}}, "mask_id is -1"),
        ({"info": {"format": 7}}, "format 7"),
    ],
)
def test_damaged_tables_are_refused(corpus: Path, change, message: str) -> None:
    changed(corpus / "train.bert.npz", **change)
    with pytest.raises(DataError, match=message):
        CorpusTokens.load(corpus, "train")


def test_other_bytes_than_were_written_and_other_documents_are_refused(corpus: Path) -> None:
    path = corpus / "train.bert.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1  # among the ids
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged or not token ids"):
        CorpusTokens.load(corpus, "train")
    write_checksums(corpus, {path.name: entry_of(path)})
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="changed since it was written"):
        CorpusTokens.load(corpus, "train")
    (corpus / "checksums.json").unlink()
    CorpusTokens.load(corpus, "train")
    write_documents(corpus, {"train": [("new", ["other words"])]})
    with pytest.raises(DataError, match="stale, train.documents.parquet has changed"):
        CorpusTokens.load(corpus, "train")
