"""The kinds of tokenizer and text encoder that can be trained and made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, NamedTuple

from preprocess.text import bert_folder, t5_folder

ENCODERS = ("base", "small", "tiny")
"""Sizes that every family has."""


class Family(NamedTuple):
    """A kind of tokenizer and text encoder.

    Attributes:
        name: as people call it.
        train: texts and most pieces → what ``write_tokenizer`` takes.
        write_tokenizer: folder and that → number of ids.
        write_encoder: folder, one of :data:`ENCODERS`, number of ids, seed → number of parameters.
        files: what may be in such a folder.
        added: ids beside the pieces, in words.
    """

    name: str
    train: Callable[[list[str], int], Any]
    write_tokenizer: Callable[[Path, Any], int]
    write_encoder: Callable[[Path, str, int, int], int]
    files: tuple[str, ...]
    added: str = ""


FAMILIES = {
    "t5": Family(
        *("T5", t5_folder.train_sentencepiece, t5_folder.write_tokenizer, t5_folder.write_encoder, t5_folder.FILES),
        f", {t5_folder.EXTRA_IDS} <extra_id_i> added",
    ),
    "bert": Family(
        *("BERT", bert_folder.train_wordpiece, bert_folder.write_tokenizer, bert_folder.write_encoder, bert_folder.FILES)
    ),
}
FILES = tuple(sorted({name for family in FAMILIES.values() for name in family.files}))
"""What may be in a folder of any of them."""
