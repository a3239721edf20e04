"""A T5 tokenizer trained on reports and a T5 encoder with random weights, in one folder ``from_pretrained`` can read.

For sites that cannot download pre-trained weights, for other languages, and for tests.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cmelt_plugin.errors import DataError
from cmelt_plugin.huggingface import import_transformers

EXTRA_IDS = 100
FILES = (
    "spiece.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "config.json",
    "generation_config.json",
    "model.safetensors",
)
"""What may be in such a folder."""
ENCODERS = {
    "tiny": {"d_model": 64, "num_layers": 2, "num_heads": 4, "d_kv": 16, "d_ff": 128},
    "small": {"d_model": 512, "num_layers": 8, "num_heads": 6, "d_kv": 64, "d_ff": 1024},
    "base": {"d_model": 768, "num_layers": 12, "num_heads": 12, "d_kv": 64, "d_ff": 2048},
}
"""Sizes of the encoder; small and base are those of Flan-T5."""


def train_sentencepiece(texts: Iterable[str], vocab_size: int) -> bytes:
    """Train a sentencepiece unigram model with T5's first ids: 0 ``<pad>``, 1 ``</s>``, 2 ``<unk>``.

    The same texts give the same model. Texts are taken as they are (reports are normalised already).

    Args:
        texts: one report each.
        vocab_size: pieces wanted, at most; a small corpus supports fewer.

    Raises:
        DataError: there is no text, or ``vocab_size`` is below the number of characters.
    """
    import sentencepiece

    texts = [text for text in texts if text]
    if not texts:
        raise DataError("no report text to train a tokenizer on")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="unigram",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            max_sentence_length=1 << 16,
            # With several threads the sums of the EM steps, and so the model, depend on their timing.
            num_threads=1,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            pad_piece="<pad>",
            unk_piece="<unk>",
            eos_piece="</s>",
            minloglevel=2,
        )
    except RuntimeError as error:
        characters = len(set("".join(texts)))
        raise DataError(
            f"cannot train a vocabulary of {vocab_size} on {len(texts)} reports with {characters} different characters: "
            f"{str(error).strip().splitlines()[-1]}"
        ) from None
    return model.getvalue()


def _tokenizer_json(pieces: list[tuple[str, float]]) -> dict[str, Any]:
    """``tokenizer.json`` as transformers makes it from a T5 sentencepiece model, readable by tokenizers 0.15 and later."""
    special = ["<pad>", "</s>", "<unk>"]
    extra = [f"<extra_id_{index}>" for index in range(EXTRA_IDS)]
    # T5 counts its extra ids from the end of the vocabulary.
    vocab = [*pieces, *((token, 0.0) for token in reversed(extra))]
    ids = {token: index for index, (token, _) in enumerate(vocab)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": ids[token], "content": token, **flags} for token in sorted(special + extra, key=ids.__getitem__)]
    metaspace = {
        "type": "Metaspace",
        "replacement": "▁",
        "add_prefix_space": True,
        "prepend_scheme": "always",
    }
    text = {"Sequence": {"id": "A", "type_id": 0}}
    second = {"Sequence": {"id": "B", "type_id": 0}}
    end = {"SpecialToken": {"id": "</s>", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [text, end],
            "pair": [text, end, second, end],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
        },
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": 2, "vocab": [list(entry) for entry in vocab], "byte_fallback": False},
    }


def write_tokenizer(folder: Path, model: bytes) -> int:
    """Write ``spiece.model``, ``tokenizer.json`` and the two configuration files; return the vocabulary size.

    The size counts the 100 ``<extra_id_i>``.
    """
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = [(processor.id_to_piece(index), processor.get_score(index)) for index in range(len(processor))]
    tokens = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    extra = [f"<extra_id_{index}>" for index in range(EXTRA_IDS)]
    config = {
        "tokenizer_class": "T5Tokenizer",
        "extra_ids": EXTRA_IDS,
        "model_max_length": 512,
        "legacy": False,
        "additional_special_tokens": extra,
        **tokens,
    }
    files = {
        "tokenizer.json": _tokenizer_json(pieces),
        "tokenizer_config.json": config,
        "special_tokens_map.json": {**tokens, "additional_special_tokens": extra},
    }
    (folder / "spiece.model").write_bytes(model)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return len(pieces) + EXTRA_IDS


def write_encoder(folder: Path, size: str, vocab_size: int, seed: int) -> int:
    """Write ``config.json`` and ``model.safetensors`` of a T5 encoder with random weights; return its parameter count.

    Args:
        folder: where to.
        size: a key of ``ENCODERS``.
        vocab_size: rows of the embedding, the tokenizer's length.
        seed: of the weights.
    """
    import torch

    transformers = import_transformers()
    config = transformers.T5Config(
        vocab_size=vocab_size,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        **ENCODERS[size],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.T5EncoderModel(config)
    model.save_pretrained(folder, safe_serialization=True)
    return sum(parameter.numel() for parameter in model.parameters())
