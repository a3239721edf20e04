"""MAE-style token masking (He et al. 2022): most tokens are dropped before the encoder."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class TokenMask(NamedTuple):
    """Which tokens survive.

    Attributes:
        keep_ids: ``[B, K]`` positions of the visible tokens, in their shuffled order; K is that of a whole record.
        restore_ids: ``[B, N]`` for each original position, where it stands in (visible, dropped, padding) order.
        dropped: ``[B, N]`` bool, True = not visible: padding, or to be reconstructed.
        unused: ``[B, K]`` bool, True = a place of ``keep_ids`` behind the visible tokens of a short record; None when no
            record is padded.
    """

    keep_ids: Tensor
    restore_ids: Tensor
    dropped: Tensor
    unused: Tensor | None = None


def mask_tokens(noise: Tensor, ratio: float, padding_mask: Tensor | None = None) -> TokenMask:
    """Drop the ``ratio`` of each record's real tokens that have the largest noise, and all padding.

    Args:
        noise: ``[B, N]`` random integers; drawn by the data set so that they depend on (seed, epoch, record) alone.
        ratio: share of a record's real tokens dropped, in [0, 1); at least one stays.
        padding_mask: ``[B, N]`` bool, True = padding.
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"mask ratio must be in [0, 1), not {ratio}")
    n_places = max(1, int(noise.shape[1] * (1 - ratio)))
    if padding_mask is None:
        order = noise.argsort(dim=1, stable=True)
        restore_ids = order.argsort(dim=1)
        return TokenMask(order[:, :n_places], restore_ids, restore_ids >= n_places)
    order = noise.masked_fill(padding_mask, torch.iinfo(noise.dtype).max).argsort(dim=1, stable=True)
    restore_ids = order.argsort(dim=1)
    # In double precision, as Python computes the number above.
    n_keep = ((~padding_mask).sum(dim=1, keepdim=True).double() * (1 - ratio)).long().clamp(min=1)
    unused = torch.arange(n_places, device=noise.device)[None, :] >= n_keep
    return TokenMask(order[:, :n_places], restore_ids, restore_ids >= n_keep, unused)


def gather_tokens(states: Tensor, ids: Tensor) -> Tensor:
    """``states [B, N, D]`` at ``ids [B, K]`` → ``[B, K, D]``."""
    return states.gather(1, ids.unsqueeze(-1).expand(-1, -1, states.shape[-1]))


def masked_states(states: Tensor, mask: Tensor, n_masked: int | None = None) -> Tensor:
    """``states [B, L, D]`` where ``mask [B, L]`` is True, in reading order → ``[n_masked, D]``.

    Args:
        n_masked: how many places are True. None: they are counted, for which the CPU waits for a GPU.
    """
    if n_masked is None:
        return states[mask]
    places = mask.flatten().to(torch.uint8).argsort(descending=True, stable=True)[:n_masked]
    return states.flatten(0, 1).index_select(0, places)
