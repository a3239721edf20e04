"""Small text encoders with random weights, standing in for the pre-trained ones of the grids on a small machine.

They share the manifest's tokenizer and differ in architecture only, so what a table made with them says about "Flan-T5" is
about the architecture, not about its pre-training.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from cmelt_plugin.huggingface import import_transformers

WIDTH, LAYERS, HEADS, FFN = 64, 2, 4, 128


def write_tiny_encoder(name: str, tokens: TokenTable, folder: Path, seed: int = 1) -> Path:
    """Write a folder ``from_pretrained`` can read and return it; an existing one is kept.

    Args:
        name: the model it stands for; T5, BERT (MedCPT is one) or DeBERTa is read from it.
        tokens: the token ids it will see.
        folder: where to.
        seed: of the weights.

    Raises:
        DataError: another architecture.
    """
    import torch

    if (folder / "config.json").is_file():
        return folder
    transformers = import_transformers()
    vocab, pad = tokens.info["vocab_size"], tokens.info["pad_id"]
    shared: dict[str, Any] = {"vocab_size": vocab, "pad_token_id": pad}
    bert = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": FFN}
    low = name.lower()
    if "t5" in low:
        sizes = {"d_model": WIDTH, "num_layers": LAYERS, "num_heads": HEADS, "d_kv": WIDTH // HEADS, "d_ff": FFN}
        build, config = transformers.T5EncoderModel, transformers.T5Config(feed_forward_proj="gated-gelu", **sizes, **shared)
    elif "deberta" in low:
        build, config = transformers.DebertaModel, transformers.DebertaConfig(**bert, **shared)
    elif "bert" in low or "medcpt" in low:
        build, config = transformers.BertModel, transformers.BertConfig(**bert, **shared)
    else:
        raise DataError(f"{name}: no tiny encoder of this architecture; known are T5, BERT, MedCPT and DeBERTa")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(config)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary, safe_serialization=True)
    temporary.rename(folder)
    return folder
