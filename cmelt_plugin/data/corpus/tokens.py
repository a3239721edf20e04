"""Token ids of a corpus' documents, computed once: ``train.TAG.npz`` and ``valid.TAG.npz`` beside the documents.

Unlike those of reports (:mod:`cmelt_plugin.data.text.tokens`) they hold no special tokens, for these depend on how sentences
are put together, and they say where words begin. Training reads ids from here and never loads a tokenizer.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.corpus.documents import documents_path
from cmelt_plugin.data.directory.checksums import check_listed, fingerprint
from cmelt_plugin.data.store.memory_maps import MappedArray, blocks, check_npz, map_npz
from cmelt_plugin.data.store.npy_files import read_npz
from cmelt_plugin.data.text.tokens import check_info
from cmelt_plugin.errors import DataError

FORMAT = 1
LARGE = {"ids": np.dtype(np.int32), "begins_word": np.dtype(bool)}
"""Arrays that stay in the file."""
REQUIRED = (
    *("format", "tokenizer", "fingerprint", "source_fingerprint", "vocab_size"),
    *("pad_id", "mask_id", "special_ids", "first_ids", "last_ids"),
)


class CorpusTokens(NamedTuple):
    """Token ids of ``n`` documents of ``S`` sentences.

    Attributes:
        ids: int32 ``[tokens]``, every sentence's ids one after the other, without special tokens.
        begins_word: bool ``[tokens]``, True = the first token of a word.
        sentence_offsets: int64 ``[S + 1]``; sentence ``s`` is ``ids[sentence_offsets[s]:sentence_offsets[s + 1]]``.
        document_offsets: int64 ``[n + 1]``; document ``d`` is sentences ``document_offsets[d]`` to ``document_offsets[d + 1]``.
        info: ``format, tokenizer, fingerprint, source_fingerprint, vocab_size, pad_id, mask_id, special_ids`` and
            ``first_ids``, ``last_ids``: what the tokenizer puts before and after a text.
    """

    ids: MappedArray
    begins_word: MappedArray
    sentence_offsets: np.ndarray
    document_offsets: np.ndarray
    info: dict[str, Any]

    @classmethod
    def load(cls, folder: str | os.PathLike, split: str, tag: str | None = None) -> CorpusTokens:
        """Read the token ids of a split, which must be those of its documents.

        Args:
            folder: the corpus.
            split: ``train`` or ``valid``.
            tag: ``SPLIT.TAG.npz`` is meant; None: the only one there is.

        Raises:
            DataError: no such file, several to choose from, damaged, or made from other documents.
        """
        path = _find(Path(folder), split, tag)
        rerun = f"make it with `python preprocess/tokenizer.py --corpus {folder} … --overwrite`"
        listed = check_listed(path)
        try:
            mapped = {}
            for name, dtype in LARGE.items():
                if not listed:
                    check_npz(path, name)
                array = map_npz(path, name)
                if array is None or array.array.dtype != dtype or array.array.ndim != 1:
                    raise ValueError(f"{name} is not a list of {dtype}")
                mapped[name] = array
            rest = read_npz(path, without=list(LARGE))
            info = json.loads(rest["info"].tobytes().decode("utf-8"))
            if not isinstance(info, dict):
                raise ValueError("its description is not an object")
            tokens = cls(mapped["ids"], mapped["begins_word"], rest["sentence_offsets"], rest["document_offsets"], info)
            tokens._check()
        except DataError as error:
            raise DataError(f"{path}: {error}; {rerun}") from None
        except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, TypeError, AttributeError, EOFError) as error:
            raise DataError(f"{path}: damaged or not token ids of a corpus ({error}); {rerun}") from None
        documents = documents_path(folder, split)
        if not documents.is_file() or info["source_fingerprint"] != fingerprint(documents):
            raise DataError(f"{path}: stale, {documents.name} has changed since it was made; {rerun}")
        return tokens

    def _check(self) -> None:
        check_info(self.info, REQUIRED)
        if self.info["format"] != FORMAT:
            raise DataError(f"format {self.info['format']}, this version reads format {FORMAT}")
        size = self.info["vocab_size"]
        for name in ("first_ids", "last_ids"):
            added = self.info[name]
            if not isinstance(added, list) or not all(type(number) is int and 0 <= number < size for number in added):
                raise DataError(f"{name} is {str(added):.80}")
        lengths = len(self.sentence_offsets) - 1, len(self.ids.array)
        for offsets, end in zip((self.document_offsets, self.sentence_offsets), lengths):
            if offsets.dtype != np.int64 or offsets.ndim != 1 or not len(offsets) or offsets[0] != 0 or offsets[-1] != end:
                raise DataError("offsets do not span what they divide")
            if (np.diff(offsets) < 0).any():
                raise DataError("offsets decrease")
        if len(self.begins_word.array) != len(self.ids.array):
            raise DataError("not one beginning for every id")
        for _, ids in blocks(self.ids.array, self.ids):
            if ids.min() < 0 or ids.max() >= size:
                raise DataError(f"ids outside of 0..{size - 1}")


def token_files(folder: str | os.PathLike, split: str) -> list[Path]:
    """Token files of a split, sorted."""
    return sorted(Path(folder).glob(f"{split}.*.npz"))


def _find(folder: Path, split: str, tag: str | None) -> Path:
    files = [folder / f"{split}.{tag}.npz"] if tag else token_files(folder, split)
    if not files or not files[0].is_file():
        name = f"{split}.{tag or 'TAG'}.npz"
        raise DataError(f"{folder}: no token ids {name}; run preprocess/tokenizer.py --corpus {folder} --tokenizer NAME")
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise DataError(f"{folder}: several files of token ids: {names}; choose one with task.tokenizer=TAG")
    return files[0]
