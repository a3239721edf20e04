"""A BERT tokenizer trained on reports and a BERT encoder with random weights, in one folder ``from_pretrained`` can read.

The same for BERT as :mod:`preprocess.text.t5_folder` is for T5: for sites that cannot download pre-trained weights, for the
language stage, and for tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cmelt_plugin.errors import DataError
from cmelt_plugin.huggingface import import_transformers

FILES = (
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "config.json",
    "model.safetensors",
)
"""What may be in such a folder."""
ENCODERS = {
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128},
    "small": {"hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 2048},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}
"""Sizes of the encoder; small and base are those of the published BERTs of these names."""
LONGEST_TEXT = 512
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
CONTINUES = "##"


def train_wordpiece(texts: Iterable[str], vocab_size: int) -> list[str]:
    """Train a WordPiece vocabulary that begins with BERT's special tokens: 0 ``[PAD]``, 1 ``[UNK]``, 2 ``[CLS]``, ….

    The same texts give the same vocabulary. Texts are lower-cased, accents stay.

    Args:
        texts: one report each.
        vocab_size: pieces wanted, at most; a small corpus supports fewer.

    Returns:
        The pieces in the order of their ids.

    Raises:
        DataError: there is no text, or ``vocab_size`` is below the number of characters.
    """
    import tokenizers

    texts = [text for text in texts if text]
    if not texts:
        raise DataError("no report text to train a tokenizer on")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token=SPECIAL["unk_token"]))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    begin, inside = _characters(tokenizer, texts)
    # Named in order, as if they were special: the library numbers characters inside of words in an order of the moment, and
    # of pairs that are equally frequent it merges the one of the lower numbers.
    known = [*SPECIAL.values(), *begin, *inside]
    if len(known) > vocab_size:
        raise DataError(
            f"cannot train a vocabulary of {vocab_size} on {len(texts)} reports: their characters and the special tokens "
            f"alone are {len(known)}"
        )
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=known, continuing_subword_prefix=CONTINUES, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    ids = tokenizer.get_vocab()
    return sorted(ids, key=ids.__getitem__)


def _characters(tokenizer: Any, texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """Characters as they occur in words, and, marked so, those that occur inside of words; sorted."""
    every: set[str] = set()
    inside: set[str] = set()
    for text in texts:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            every.update(word)
            inside.update(word[1:])
    return sorted(every), [f"{CONTINUES}{character}" for character in sorted(inside)]


def _tokenizer_json(pieces: list[str]) -> dict[str, Any]:
    """``tokenizer.json`` of an uncased BERT, readable by tokenizers 0.15 and later."""
    ids = {piece: index for index, piece in enumerate(pieces)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    cls, sep = SPECIAL["cls_token"], SPECIAL["sep_token"]
    begin, end = {"SpecialToken": {"id": cls, "type_id": 0}}, {"SpecialToken": {"id": sep, "type_id": 0}}
    first, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": ids[token], "content": token, **flags} for token in SPECIAL.values()],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": False,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, first, end],
            "pair": [begin, first, end, second, {"SpecialToken": {"id": sep, "type_id": 1}}],
            "special_tokens": {token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in (cls, sep)},
        },
        "decoder": {"type": "WordPiece", "prefix": CONTINUES, "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": SPECIAL["unk_token"],
            "continuing_subword_prefix": CONTINUES,
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
    }


def write_tokenizer(folder: Path, pieces: list[str]) -> int:
    """Write ``vocab.txt``, ``tokenizer.json`` and the two configuration files; return the vocabulary size."""
    config = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "strip_accents": False,
        "tokenize_chinese_chars": True,
        "model_max_length": LONGEST_TEXT,
        **SPECIAL,
    }
    files = {
        "tokenizer.json": _tokenizer_json(pieces),
        "tokenizer_config.json": config,
        "special_tokens_map.json": SPECIAL,
    }
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return len(pieces)


def write_encoder(folder: Path, size: str, vocab_size: int, seed: int) -> int:
    """Write ``config.json`` and ``model.safetensors`` of a BERT with random weights; return its parameter count.

    Args:
        folder: where to.
        size: a key of ``ENCODERS``.
        vocab_size: rows of the embedding, the tokenizer's length.
        seed: of the weights.
    """
    import torch

    transformers = import_transformers()
    config = transformers.BertConfig(
        vocab_size=vocab_size, max_position_embeddings=LONGEST_TEXT, pad_token_id=0, **ENCODERS[size]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.BertModel(config)
    model.save_pretrained(folder, safe_serialization=True)
    return sum(parameter.numel() for parameter in model.parameters())
