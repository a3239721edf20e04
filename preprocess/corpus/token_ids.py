"""Token ids of a corpus' documents, ``SPLIT.TAG.npz``: sentence by sentence, with the beginnings of words."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cmelt_plugin.data.corpus.documents import SPLITS, documents_path, read_description, read_documents
from cmelt_plugin.data.corpus.tokens import FORMAT, LARGE, CorpusTokens
from cmelt_plugin.data.directory.replacing import list_again, replacing
from cmelt_plugin.data.files import atomic_path, fingerprint
from cmelt_plugin.errors import DataError


def tokenise_corpus(folder: Path, tag: str, tokenizer: Any, described: dict[str, Any], overwrite: bool) -> None:
    """Write the token ids of both splits unless they are there, and print what they hold.

    Args:
        folder: the corpus.
        tag: names the files.
        tokenizer: a fast one, which says what words its tokens belong to.
        described: the tokenizer: ``tokenizer, fingerprint, vocab_size, pad_id, mask_id, special_ids``.
        overwrite: replace files of other documents or of another tokenizer.

    Raises:
        DataError: the corpus is not complete, the tokenizer is no fast one, or a file is there and not the same.
    """
    read_description(folder)
    if not tokenizer.is_fast:
        raise DataError(f"tokenizer {described['tokenizer']}: does not say which tokens make up a word; use a fast one")
    first, last = added_ids(tokenizer)
    for split in SPLITS:
        documents = documents_path(folder, split)
        if not documents.is_file():
            continue
        path = folder / f"{split}.{tag}.npz"
        info = {"format": FORMAT, **described, "first_ids": first, "last_ids": last}
        info["source_fingerprint"] = fingerprint(documents)
        if path.exists() and not overwrite:
            if CorpusTokens.load(folder, split, tag).info != info:
                raise DataError(f"{path}: made with another tokenizer; --overwrite replaces it, --tag names another file")
            list_again(folder, [path.name])
            print(f"{path}: up to date")
            continue
        _write(path, folder, split, tokenizer, info)


def added_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What a tokenizer puts before and after every text: BERT's ``[CLS]`` and ``[SEP]``."""
    whole = tokenizer("a", return_special_tokens_mask=True)
    ids, special = whole["input_ids"], whole["special_tokens_mask"]
    inside = [place for place, flag in enumerate(special) if not flag]
    if not inside:  # the letter is unknown to it, and [UNK] special
        inside = [ids.index(tokenizer.unk_token_id)]
    return list(map(int, ids[: inside[0]])), list(map(int, ids[inside[-1] + 1 :]))


def _write(path: Path, folder: Path, split: str, tokenizer: Any, info: dict[str, Any]) -> None:
    lengths: list[np.ndarray] = [np.zeros(1, dtype=np.int64)]
    sentences = list(lengths)
    n_unknown = 0
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{split}.") as work:
        spools = {name: Path(work) / name for name in LARGE}
        with open(spools["ids"], "wb") as ids, open(spools["begins_word"], "wb") as begins:
            for batch in tqdm(read_documents(folder, split, ["statements"]), desc=path.name, unit="batch", disable=None):
                texts = batch.column("statements").to_pylist()
                rows, words = encode_words(tokenizer, [statement for statements in texts for statement in statements])
                flat = np.concatenate([np.empty(0, np.int32), *(np.asarray(row, dtype=np.int32) for row in rows)])
                n_unknown += int(np.count_nonzero(flat == tokenizer.unk_token_id))
                ids.write(flat.tobytes())
                begins.write(np.concatenate([np.empty(0, bool), *words]).tobytes())
                lengths.append(np.array([len(row) for row in rows], dtype=np.int64))
                sentences.append(np.array([len(statements) for statements in texts], dtype=np.int64))
        arrays: dict[str, Any] = {name: _mapped(spools[name], dtype) for name, dtype in LARGE.items()}
        arrays["sentence_offsets"] = np.cumsum(np.concatenate(lengths))
        arrays["document_offsets"] = np.cumsum(np.concatenate(sentences))
        arrays["info"] = np.frombuffer(json.dumps(info, ensure_ascii=False).encode("utf-8"), dtype=np.uint8)
        with replacing(folder, [path.name]), atomic_path(path) as temporary:
            np.savez(temporary, **arrays)
        counts = [len(arrays["document_offsets"]) - 1, len(arrays["sentence_offsets"]) - 1, len(arrays["ids"])]
    documents, sentences_in_all, tokens = (f"{count:,}" for count in counts)
    unknown = n_unknown / max(counts[-1], 1)
    print(f"{path}: {documents} documents, {sentences_in_all} sentences, {tokens} tokens, {unknown:.3%} unknown")


def encode_words(tokenizer: Any, texts: Sequence[str]) -> tuple[list[list[int]], list[np.ndarray]]:
    """Ids of texts without special tokens, and bool arrays: True = the first token of a word."""
    if not texts:
        return [], []
    encoded = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    return encoded["input_ids"], [_beginnings(encoded.word_ids(row)) for row in range(len(texts))]


def _beginnings(words: Iterable[int | None]) -> np.ndarray:
    numbers = np.array([-1 if word is None else word for word in words], dtype=np.int64)
    return np.diff(numbers, prepend=-2) != 0


def _mapped(path: Path, dtype: np.dtype) -> np.ndarray:
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.empty(0, dtype)
