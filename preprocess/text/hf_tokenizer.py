"""Hugging Face tokenizers as preparation needs them: names for files, and the ids training must know."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cmelt_plugin.data.text.tokenizer import encode, load_tokenizer, tokenizer_fingerprint
from cmelt_plugin.errors import DataError
from cmelt_plugin.huggingface import first_line

__all__ = ["encode", "first_line", "load_tokenizer", "mask_id", "short_name", "special_ids", "tokenizer_fingerprint"]

EXTRA_ID = re.compile(r"<extra_id_\d+>")


def short_name(name: str) -> str:
    """Last part of a folder or name, fit for a file name: ``google/flan-t5-base`` becomes ``flan-t5-base``."""
    base = Path(name).name or Path(name).resolve().name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", base).strip(".-") or "tokenizer"


def mask_id(tokenizer: Any) -> int:
    """Id that stands for a masked token: the tokenizer's own, or T5's ``<extra_id_0>``.

    Raises:
        DataError: it has neither.
    """
    if tokenizer.mask_token_id is not None:
        return int(tokenizer.mask_token_id)
    sentinel = tokenizer.get_vocab().get("<extra_id_0>")
    if sentinel is None:
        raise DataError(f"tokenizer {tokenizer.name_or_path}: neither a mask token nor <extra_id_0>; MLM needs one of them")
    return int(sentinel)


def special_ids(tokenizer: Any) -> list[int]:
    """Ids that masked language modelling must never choose: special tokens and T5's extra ids, sorted."""
    extra = {index for token, index in tokenizer.get_vocab().items() if EXTRA_ID.fullmatch(token)}
    return sorted(extra.union(tokenizer.all_special_ids))
