"""MAE-style token masking (He et al. 2022): most tokens are dropped before the encoder."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class TokenMask(NamedTuple):
    """Which tokens survive.

    Attributes:
        keep_ids: ``[B, K]`` positions of the visible tokens, in their shuffled order.
        restore_ids: ``[B, N]`` for each original position, where it stands in (visible, dropped) order.
        dropped: ``[B, N]`` bool, True = dropped, to be reconstructed.
    """

    keep_ids: Tensor
    restore_ids: Tensor
    dropped: Tensor


def mask_tokens(noise: Tensor, ratio: float, padding_mask: Tensor | None = None) -> TokenMask:
    """Drop the ``ratio`` of tokens with the largest noise, padding first.

    Args:
        noise: ``[B, N]`` random integers; drawn by the data set so that they depend on (seed, epoch, record) alone.
        ratio: share of the N tokens dropped, in [0, 1).
        padding_mask: ``[B, N]`` bool, True = padding.
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"mask ratio must be in [0, 1), not {ratio}")
    if padding_mask is not None:
        noise = noise.masked_fill(padding_mask, torch.iinfo(noise.dtype).max)
    n_tokens = noise.shape[1]
    n_keep = max(1, int(n_tokens * (1 - ratio)))
    order = noise.argsort(dim=1, stable=True)
    restore_ids = order.argsort(dim=1)
    return TokenMask(order[:, :n_keep], restore_ids, restore_ids >= n_keep)


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
