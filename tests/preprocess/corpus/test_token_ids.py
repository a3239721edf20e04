from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpora import write_bert, write_documents
from pretrained_files import write_tokenizer_folder

from cmelt_plugin.data.corpus.tokens import CorpusTokens
from cmelt_plugin.errors import DataError
from preprocess import tokenizer as command
from preprocess.corpus.token_ids import added_ids, encode_words
from preprocess.text.hf_tokenizer import load_tokenizer

DOCUMENTS = [("a", ["sinus rhythm xylophone 72/min", "normal ecg"]), ("b", ["–", "atrial fibrillation"])]


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert"))


def run(corpus: Path, bert: Path, *more: str) -> int:
    return command.main(["--corpus", str(corpus), "--tokenizer", str(bert), "--tag", "x", *more])


def test_sentences_are_tokenised_one_by_one(bert: Path, tmp_path: Path, capsys) -> None:
    write_documents(tmp_path, {"train": DOCUMENTS, "valid": DOCUMENTS[:1]})
    assert run(tmp_path, bert) == 0
    assert "train.x.npz: 2 documents, 4 sentences" in capsys.readouterr().out
    tokens, tokenizer = CorpusTokens.load(tmp_path, "train"), load_tokenizer(str(bert))
    texts = [statement for _, statements in DOCUMENTS for statement in statements]
    for number, text in enumerate(texts):
        start, stop = tokens.sentence_offsets[number : number + 2]
        assert [2, *tokens.ids.slice(start, stop).tolist(), 3] == tokenizer(text)["input_ids"]
        pieces = tokenizer.convert_ids_to_tokens(tokens.ids.slice(start, stop).tolist())
        assert tokens.begins_word.slice(start, stop).tolist() == [not piece.startswith("##") for piece in pieces]
    assert tokens.document_offsets.tolist() == [0, 2, 4]
    assert (tokens.info["first_ids"], tokens.info["last_ids"], tokens.info["mask_id"]) == ([2], [3], 4)


def test_words_of_a_sentencepiece_tokenizer_begin_at_blanks(tmp_path: Path) -> None:
    write_tokenizer_folder(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    (ids,), (begins,) = encode_words(tokenizer, ["sinus rhythm bradycardia"])
    pieces = tokenizer.convert_ids_to_tokens(ids)
    assert begins.tolist() == [piece.startswith("▁") for piece in pieces] and begins.sum() == 3 < len(ids)
    assert added_ids(tokenizer) == ([], [1])


def test_running_again_is_up_to_date_and_another_tokenizer_needs_overwrite(bert: Path, tmp_path: Path, capsys) -> None:
    write_documents(tmp_path / "c", {"train": DOCUMENTS})
    run(tmp_path / "c", bert)
    content = (tmp_path / "c" / "train.x.npz").read_bytes()
    assert run(tmp_path / "c", bert) == 0 and "up to date" in capsys.readouterr().out
    other = write_bert(tmp_path / "other", ["sinus rhythm", "normal ecg atrial"], vocab_size=60)
    with pytest.raises(DataError, match="made with another tokenizer; --overwrite replaces it"):
        run(tmp_path / "c", other)
    assert (tmp_path / "c" / "train.x.npz").read_bytes() == content
    assert run(tmp_path / "c", other, "--overwrite") == 0
    assert not [path for path in (tmp_path / "c").iterdir() if path.name.startswith(".")]
    write_documents(tmp_path / "c", {"train": DOCUMENTS[:1]})
    with pytest.raises(DataError, match="stale"):
        run(tmp_path / "c", other)


def test_what_cannot_be_done_is_said(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file; a corpus folder is written by preprocess/text_corpus.py"):
        run(tmp_path, bert)
    with pytest.raises(DataError, match="--corpus needs --tokenizer"):
        command.main(["--corpus", str(tmp_path), "--train-vocab", "100"])


def test_an_empty_list_has_no_ids(bert: Path) -> None:
    assert encode_words(load_tokenizer(str(bert)), []) == ([], [])
    (ids,), (begins,) = encode_words(load_tokenizer(str(bert)), [" "])
    assert ids == [] and begins.dtype == np.bool_ and len(begins) == 0
