"""Hugging Face tokenizers: loading one, recognising it again, and ids for the text encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cmelt_plugin.errors import DataError
from cmelt_plugin.huggingface import load_tokenizer as _load_tokenizer


def load_tokenizer(name: str) -> Any:
    """The Hugging Face tokenizer of a folder or a name.

    Raises:
        DataError: there is none, it brings code along, or transformers cannot load it.
    """
    try:
        return _load_tokenizer(name)
    except DataError as error:
        raise DataError(
            f"tokenizer {name!r} cannot be loaded ({error}); give a folder written by save_pretrained, "
            "or a name that can be downloaded or is in the local cache"
        ) from None


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


def pad_ids(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Ids int64 ``[n, L]`` and padding bool ``[n, L]`` (True = padding) of n texts, padded at the end."""
    length = max(len(row) for row in rows)
    ids = torch.full((len(rows), length), pad_id)
    padding = torch.ones(len(rows), length, dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.as_tensor(list(row))
        padding[index, : len(row)] = False
    return ids, padding
