"""Layouts of weights that the releases of several systems have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

HEAD_WIDTH = 64  # of an attention head, where no shape tells their number


def split_attention(state: dict[str, Tensor], attention: str, kind: str, stacked: Tensor) -> None:
    """Put query, key and value of one matrix or bias into ``state``, each under the name of the ``attention``'s own."""
    for part, block in zip("qkv", stacked.chunk(3)):
        state[f"{attention}.{part}_proj.{kind}"] = block.clone()


def bert_settings(shapes: Mapping[str, tuple[int, ...]], prefix: str, heads: int | None = None) -> dict[str, Any]:
    """The Hugging Face configuration of a BERT, from the shapes of its weights.

    Args:
        shapes: of the weights, by name.
        prefix: with which the names of BERT's own begin.
        heads: attention heads, which no shape tells; None: one per :data:`HEAD_WIDTH` channels.

    Raises:
        KeyError: a weight that tells a size is missing.
    """
    vocabulary, width = shapes[f"{prefix}embeddings.word_embeddings.weight"]
    return {
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": sum(name.startswith(prefix) and name.endswith(".attention.self.query.weight") for name in shapes),
        "num_attention_heads": heads or width // HEAD_WIDTH,
        "intermediate_size": shapes[f"{prefix}encoder.layer.0.intermediate.dense.weight"][0],
        "max_position_embeddings": shapes[f"{prefix}embeddings.position_embeddings.weight"][0],
        "type_vocab_size": shapes[f"{prefix}embeddings.token_type_embeddings.weight"][0],
    }
