"""Writing a text token by token: greedy and beam search, from whatever says which token comes next."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import torch
from torch import Tensor


class NextToken(Protocol):
    """Logits of the next token of R texts that are being written."""

    def logits(self, ids: Tensor) -> Tensor:
        """``ids [R, t]`` int64, everything written so far, one token more at each call → ``[R, V]``."""
        ...

    def select(self, rows: Tensor) -> None:
        """Go on with the texts ``rows [R']`` of the R, in this order; some may stop here and some be there twice."""
        ...


def greedy(step: NextToken, begin: Tensor, end: int, max_tokens: int, never: Collection[int] = ()) -> list[list[int]]:
    """The likeliest token at each place.

    Args:
        step: what comes next.
        begin: int64 ``[R]``, the token each text begins with.
        end: the token that ends a text.
        max_tokens: of a text, without those at its ends.
        never: tokens that are not written.

    Returns:
        R lists of ids, without those at the ends.
    """
    ids, ended = begin[:, None], torch.zeros_like(begin, dtype=torch.bool)
    for _ in range(max_tokens):
        token = _log_shares(step.logits(ids), never).argmax(-1).masked_fill(ended, end)
        ids, ended = torch.cat([ids, token[:, None]], dim=1), ended | (token == end)
        if bool(ended.all()):
            break
    return [_until(row, end) for row in ids[:, 1:].tolist()]


def beam_search(
    step: NextToken, begin: Tensor, end: int, max_tokens: int, beams: int, never: Collection[int] = ()
) -> list[list[int]]:
    """The likeliest of ``beams`` texts that are written side by side, by mean log probability of a token, the end included.

    A text that has ended stays among them while fewer than ``beams`` others are likelier as a whole.

    Args:
        step, begin, end, max_tokens, never: as :func:`greedy`.
        beams: K, of each of the R texts.

    Raises:
        ValueError: no beam.
    """
    if beams < 1:
        raise ValueError(f"{beams} beams; one at least")
    n_texts, device = len(begin), begin.device
    own = torch.arange(n_texts, device=device).repeat_interleave(beams)
    ids = begin[own][:, None]
    # All beams of a text are one to begin with.
    score = torch.full((n_texts, beams), float("-inf"), device=device)
    score[:, 0] = 0.0
    ended = torch.zeros(n_texts * beams, dtype=torch.bool, device=device)
    length = torch.zeros(n_texts * beams, device=device)
    first = torch.arange(n_texts, device=device)[:, None] * beams
    for place in range(max_tokens):
        shares = _log_shares(step.logits(begin[:, None] if place == 0 else ids), never)
        if place == 0:
            shares = shares[own]
            step.select(own)
        stays = torch.full_like(shares, float("-inf"))
        stays[:, end] = 0.0
        shares = torch.where(ended[:, None], stays, shares)
        total = (score.flatten()[:, None] + shares).view(n_texts, -1)
        score, best = total.topk(beams, dim=1)
        rows = (first + torch.div(best, shares.shape[1], rounding_mode="floor")).flatten()
        token = (best % shares.shape[1]).flatten()
        step.select(rows)
        length = length[rows] + (~ended[rows]).to(length.dtype)
        ended = ended[rows] | (token == end)
        ids = torch.cat([ids[rows], token[:, None]], dim=1)
        if bool(ended.all()):
            break
    best = (score / length.view(n_texts, beams).clamp(min=1)).argmax(1)
    return [_until(row, end) for row in ids.view(n_texts, beams, -1)[torch.arange(n_texts, device=device), best, 1:].tolist()]


def _log_shares(logits: Tensor, never: Collection[int]) -> Tensor:
    logits = logits.float()
    if never:
        logits = logits.index_fill(-1, torch.tensor(sorted(never), device=logits.device), float("-inf"))
    return logits.log_softmax(-1)


def _until(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids
