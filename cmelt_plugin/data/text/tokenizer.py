"""Hugging Face tokenizers: loading one, recognising it again, and ids for the text encoder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from cmelt_plugin.data.text.normal_form import normalise_report
from cmelt_plugin.data.text.statement_spans import token_spans
from cmelt_plugin.errors import DataError
from cmelt_plugin.huggingface import load_tokenizer as _load_tokenizer

_MARK_BETWEEN_DIGITS = re.compile(r"(?<=\d) ?([.,:/+-]) ?(?=\d)")


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
    encoded, cut = _encode(tokenizer, list(texts), max_tokens, ["input_ids"])
    return encoded["input_ids"], cut


def decode(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[str]:
    """Texts of token ids in the normal form of reports: the inverse of :func:`encode` for such texts.

    Special tokens are left out. What a tokenizer does not encode, such as accents, does not come back.
    """
    texts = tokenizer.batch_decode([list(row) for row in rows], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    # Some tokenizers put blanks around the marks that normalised texts have between digits only.
    return [normalise_report(_MARK_BETWEEN_DIGITS.sub(r"\1", text)) for text in texts]


def encode_statements(
    tokenizer: Any, reports: Sequence[Sequence[str]], max_tokens: int
) -> tuple[list[list[int]], list[np.ndarray], int]:
    """:func:`encode` of reports, each given as its statements, which joined by blanks are its text.

    The tokenizer must be a fast one, ``tokenizer.is_fast``: others do not say which characters a token stands for.

    Returns:
        The ids; int32 ``[S, 2]`` for each report, see :func:`~cmelt_plugin.data.text.statement_spans.token_spans`; and how
        many reports were cut.
    """
    fields = ["input_ids", "offset_mapping", "special_tokens_mask"]
    more = {"return_offsets_mapping": True, "return_special_tokens_mask": True}
    encoded, cut = _encode(tokenizer, [" ".join(statements) for statements in reports], max_tokens, fields, **more)
    spans = [token_spans(*row) for row in zip(encoded["offset_mapping"], encoded["special_tokens_mask"], reports)]
    return encoded["input_ids"], spans, cut


def _encode(
    tokenizer: Any, texts: list[str], max_tokens: int, fields: Sequence[str], **more: bool
) -> tuple[dict[str, list[Any]], int]:
    """What a tokenizer says of each text, and how many it had to cut."""
    if not texts:
        return {field: [] for field in fields}, 0
    encoded = tokenizer(texts, return_attention_mask=False, verbose=False, **more)
    result = {field: list(encoded[field]) for field in fields}
    long = [index for index, row in enumerate(result["input_ids"]) if len(row) > max_tokens]
    if long:
        chosen = [texts[index] for index in long]
        cut = tokenizer(chosen, truncation=True, max_length=max_tokens, return_attention_mask=False, **more)
        for field in fields:
            for index, row in zip(long, cut[field]):
                result[field][index] = row
    return result, len(long)
