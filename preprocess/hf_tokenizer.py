"""Hugging Face tokenizers: loading one, recognising it again, and the ids training needs to know."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cmelt_plugin.errors import DataError
from cmelt_plugin.huggingface import import_transformers

EXTRA_ID = re.compile(r"<extra_id_\d+>")


def first_line(error: Exception) -> str:
    """The first line of an error message; those of transformers run over paragraphs."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def load_tokenizer(name: str) -> Any:
    """``AutoTokenizer.from_pretrained`` of a folder or a name.

    Raises:
        DataError: transformers cannot load it.
    """
    try:
        return import_transformers().AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError, ImportError, TypeError) as error:
        raise DataError(
            f"tokenizer {name!r} cannot be loaded ({first_line(error)}); give a folder written by save_pretrained, "
            "or a name that can be downloaded or is in the local cache"
        ) from None


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


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Hash of what the tokenizer does: vocabulary, special tokens and serialised backend, not where it lies.

    Left out is what differs between calls or releases of the tokenizers library: truncation and padding, two keys of
    Metaspace, the last digits of scores.
    """
    backend: Any = None
    if getattr(tokenizer, "backend_tokenizer", None) is not None:
        backend = json.loads(tokenizer.backend_tokenizer.to_str())
        backend = {key: value for key, value in backend.items() if key not in ("truncation", "padding", "version")}
        backend = _without_release_details(backend)
    elif hasattr(tokenizer, "sp_model"):
        backend = hashlib.sha256(tokenizer.sp_model.serialized_model_proto()).hexdigest()
    content = {
        "vocabulary": sorted(tokenizer.get_vocab().items()),
        "special_tokens": sorted(map(str, tokenizer.all_special_tokens)),
        "backend": backend,
    }
    serialised = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return "sha256:" + hashlib.sha256(serialised.encode("utf-8")).hexdigest()


def _without_release_details(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_release_details(item) for item in value]
    if isinstance(value, float):
        return f"{value:.6g}"
    if not isinstance(value, dict):
        return value
    skipped = ("add_prefix_space", "split") if value.get("type") == "Metaspace" else ()
    return {key: _without_release_details(item) for key, item in value.items() if key not in skipped}


def encode(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> tuple[list[list[int]], int]:
    """Ids of each text with special tokens, cut to ``max_tokens`` such that trailing special tokens stay.

    Returns:
        The ids, and how many texts were cut.
    """
    texts = list(texts)
    if not texts:
        return [], 0
    ids = tokenizer(texts, return_attention_mask=False, verbose=False)["input_ids"]
    long = [index for index, row in enumerate(ids) if len(row) > max_tokens]
    if long:
        cut = tokenizer([texts[index] for index in long], truncation=True, max_length=max_tokens, return_attention_mask=False)[
            "input_ids"
        ]
        for index, row in zip(long, cut):
            ids[index] = row
    return ids, len(long)
