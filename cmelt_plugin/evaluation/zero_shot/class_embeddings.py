"""Zero-shot classification: similarity of a record to the texts that describe a class (paper §4.1.2, zero-shot).

``python -m cmelt_plugin.evaluation.zero_shot`` evaluates a checkpoint on any number of labelled manifest directories;
see :mod:`cmelt_plugin.evaluation.zero_shot.__main__`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cmelt_plugin.data.text.tokens import TokenTable


@torch.no_grad()
def class_embeddings(model: Any, prompts: TokenTable, n_classes: int, device: torch.device) -> Tensor:
    """Prompt ensemble: the mean of the unit-norm embeddings of a class's texts, unit norm, ``[C, D]``.

    Args:
        model: anything with ``embed_text(ids [B, L], padding_mask [B, L])`` → ``[B, D]``.
        prompts: token ids with ``class_index``.
        n_classes: C.
        device: of the model.

    Raises:
        ValueError: a class has no text.
    """
    texts = [torch.from_numpy(prompts[i].astype(np.int64)) for i in range(len(prompts))]
    length = max(len(text) for text in texts)
    ids = torch.full((len(texts), length), int(prompts.info["pad_id"]))
    padding = torch.ones(len(texts), length, dtype=torch.bool)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
        padding[row, : len(text)] = False
    embeddings = torch.cat(
        [
            F.normalize(model.embed_text(i.to(device), p.to(device)).mean.float(), dim=-1)
            for i, p in zip(ids.split(256), padding.split(256))
        ]
    )
    index = torch.from_numpy(prompts.class_index.astype(np.int64)).to(device)
    counts = torch.bincount(index, minlength=n_classes)
    if (counts == 0).any():
        raise ValueError(f"classes without a text: {torch.nonzero(counts == 0).flatten().tolist()}")
    sums = torch.zeros(n_classes, embeddings.shape[1], device=device).index_add_(0, index, embeddings)
    return F.normalize(sums / counts[:, None], dim=-1)


def cut_texts(table: TokenTable, max_tokens: int) -> TokenTable:
    """The table with texts of more than ``max_tokens`` tokens cut; they keep their last one (T5's ``</s>``)."""
    if (table.lengths() <= max_tokens).all():
        return table
    rows = [table[index] for index in range(len(table))]
    rows = [row if len(row) <= max_tokens else np.append(row[: max_tokens - 1], row[-1]) for row in rows]
    offsets = np.cumsum([0, *map(len, rows)])
    return TokenTable(np.concatenate(rows), offsets, table.info, table.class_index)
