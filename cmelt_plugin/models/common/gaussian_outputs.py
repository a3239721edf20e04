"""What a model whose embeddings are Gaussians hands to the loss of variances (:mod:`cmelt_plugin.criterions.uncertainty`)."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import torch
from torch import Tensor

from cmelt_plugin.models.base import Embedding
from cmelt_plugin.modules.uncertainty import PROLIP, UncertaintyHeads, hide_leads

Columns = TypeVar("Columns", bound=tuple)


def hidden_rows(heads: UncertaintyHeads | None, share: float, rows: int) -> int:
    """How many of a batch's ``rows``, from the first on, are read once more with leads hidden: a ``share`` for ``prolip``."""
    return math.ceil(share * rows) if heads is not None and heads.kind == PROLIP else 0


def with_hidden(ecg: Tensor, n_hidden: int, *columns: Tensor | None) -> tuple[Any, ...]:
    """A batch with its first records once more at its end, where they have hidden leads.

    They stand in one batch, so that batch statistics do not tell them apart.

    Args:
        ecg: ``[B, 12, T]``.
        n_hidden: H.
        columns: ``[B, …]`` or None each, what else belongs to the records.

    Returns:
        All of them with B + H rows.
    """
    if not n_hidden:
        return ecg, *columns
    whole = torch.cat([ecg, hide_leads(ecg[:n_hidden])])
    return whole, *(None if column is None else torch.cat([column, column[:n_hidden]]) for column in columns)


def split_hidden(columns: Columns, n_hidden: int) -> tuple[Columns, Columns]:
    """Of a named tuple of tensors (None stays None) of B + H rows the first B and the last H."""
    if not n_hidden:
        return columns, columns
    return _rows(columns, slice(None, -n_hidden)), _rows(columns, slice(-n_hidden, None))


def _rows(value: Any, rows: slice) -> Any:
    if isinstance(value, tuple):
        return type(value)(*(_rows(part, rows) for part in value))
    return None if value is None else value[rows]


def gaussian_outputs(heads: UncertaintyHeads, ecg: Embedding, text: Embedding, hidden: Embedding | None) -> dict[str, Any]:
    """What stands beside ``ecg_embedding`` and ``text_embedding``, the means.

    Args:
        heads: the model's variances.
        ecg, text: B embeddings each.
        hidden: of the first H records with leads hidden; None: there are none.

    Returns:
        ``uncertainty_kind``; ``ecg_log_variance`` and ``text_log_variance`` ``[B, D]``; ``match_scale`` and ``match_shift``;
        and ``hidden_mean`` and ``hidden_log_variance`` ``[H, D]``.
    """
    out = {
        "uncertainty_kind": heads.kind,
        "ecg_log_variance": ecg.log_variance,
        "text_log_variance": text.log_variance,
        "match_scale": heads.scale,
        "match_shift": heads.shift,
    }
    return out if hidden is None else {**out, "hidden_mean": hidden.mean, "hidden_log_variance": hidden.log_variance}
