"""How MELP lays out a report: a beginning token, its words, an end token, and behind them a token that sums it up.

Token files hold texts as a tokenizer gives them, ``[CLS] words [SEP]`` (BERT) or ``words </s>`` (T5). The text tower reads from
left to right, so that only a token behind the last word has seen the whole text. In the layout ``dynamic`` it stands right
behind the end token; in ``released`` all texts have 128 tokens and it is the last of them, behind the padding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from cmelt_plugin.errors import DataError

LAYOUTS = ("dynamic", "released")
RELEASED_LENGTH = 128
NO_LABEL = -100  # what torch's cross-entropy leaves out


class Tokens(NamedTuple):
    """Ids of the tokens that belong to no word."""

    begin: int
    end: int
    summary: int


class TextSequence(NamedTuple):
    """Texts as the text tower reads them.

    Attributes:
        ids: int64 ``[B, N]``.
        padding_mask: ``[B, N]`` bool, True = padding.
        n_text: int64 ``[B]``, tokens from the beginning to the end token.
        summary: int64 ``[B]``, where the token stands that sums up the text.
    """

    ids: Tensor
    padding_mask: Tensor
    n_text: Tensor
    summary: Tensor


class TextLayout:
    """
    Args:
        tokens: ids of the tokens at the ends.
        leading: whether texts come with a token before their first word, in whose place the beginning token is put.
        layout: one of :data:`LAYOUTS`.

    Attributes:
        shift: places by which words stand further behind than in the text given.
        gaps: whether real tokens follow padding.
    """

    def __init__(self, tokens: Tokens, leading: bool, layout: str):
        if layout not in LAYOUTS:
            raise DataError(f"model.text_layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
        self.tokens, self.leading = tokens, leading
        self.shift = 0 if leading else 1
        self.gaps = layout == "released"

    def sequence(self, text: Tensor, padding_mask: Tensor | None) -> TextSequence:
        """``text [B, L]`` int64, padded at the end; ``padding_mask [B, L]`` True = padding, None: nothing is.

        Raises:
            DataError: a text is too long for the released layout.
        """
        words = text[:, 1:] if self.leading else text
        ids = torch.cat([torch.full_like(text[:, :1], self.tokens.begin), words], dim=1)
        if padding_mask is None:
            n_text = torch.full_like(text[:, 0], ids.shape[1])
        else:
            n_text = (~padding_mask).sum(1).clamp(min=1 - self.shift) + self.shift
        if self.gaps:
            if ids.shape[1] >= RELEASED_LENGTH:
                raise DataError(
                    f"texts of {text.shape[1]} tokens; model.text_layout=released has places for "
                    f"{RELEASED_LENGTH - 1 - self.shift}: set task.max_text_tokens so"
                )
            ids = F.pad(ids, (0, RELEASED_LENGTH - ids.shape[1]))
            summary = torch.full_like(n_text, RELEASED_LENGTH - 1)
        else:
            ids, summary = F.pad(ids, (0, 1)), n_text
        place = torch.arange(ids.shape[1], device=text.device)
        is_summary = place == summary[:, None]
        ids = ids.masked_fill(is_summary, self.tokens.summary)
        return TextSequence(ids, (place >= n_text[:, None]) & ~is_summary, n_text, summary)

    def labels(self, sequence: TextSequence) -> Tensor:
        """What follows each token but the last two, ``[B, N - 2]`` int64; :data:`NO_LABEL` behind the end of a text."""
        following = sequence.ids[:, 1:-1]
        place = torch.arange(1, following.shape[1] + 1, device=following.device)
        return following.masked_fill(place >= sequence.n_text[:, None], NO_LABEL)

    def span_means(self, states: Tensor, spans: Tensor, sequence: TextSequence) -> Tensor:
        """Means of the states of the tokens of each sentence, ``[B, S, D]`` float32; zero for an empty one.

        Args:
            states: ``[B, N, D]`` of the sequence.
            spans: int64 ``[B, S, 2]``, first token and end of each sentence in the text as it was given.
            sequence: what the text became.
        """
        place = torch.arange(states.shape[1], device=states.device)
        start, stop = (spans + self.shift).unbind(-1)
        stop = torch.minimum(stop, sequence.n_text[:, None])
        member = ((place >= start[..., None]) & (place < stop[..., None])).to(torch.float32)  # [B, S, N]
        with torch.autocast(states.device.type, enabled=False):
            return member @ states.float() / member.sum(-1, keepdim=True).clamp(min=1)


def text_tokens(cfg: Any, config: Any, tokenizer: Any = None) -> Tokens:
    """Ids of the tokens at the ends: as set, else the tokenizer's, else the end token of the encoder's own configuration.

    BERT's are [CLS], [SEP] and, once more, [CLS]. T5 knows neither a first token nor one that sums up: its </s> is all three.

    Args:
        cfg: the system's configuration, with ``begin_token``, ``end_token`` and ``summary_token``.
        config: the Hugging Face configuration of the text encoder.
        tokenizer: the Hugging Face tokenizer; None: there is none at hand.

    Raises:
        DataError: neither says which they are.
    """

    def known(*names: str) -> int | None:
        ids = [getattr(tokenizer, f"{name}_token_id", None) for name in names]
        return next((int(one) for one in ids if one is not None), None)

    own = getattr(config, "eos_token_id", None)
    end = _first(cfg.end_token, known("sep", "eos"), own)
    begin = _first(cfg.begin_token, known("cls", "bos"), end)
    summary = _first(cfg.summary_token, known("cls"), end)
    if begin is None or end is None or summary is None:
        raise DataError(
            "the text encoder comes without a tokenizer that names the tokens at the ends of a text; set model.begin_token, "
            "model.end_token and model.summary_token (BERT: the ids of [CLS], [SEP] and [CLS])"
        )
    if max(begin, end, summary) >= config.vocab_size:
        raise DataError(
            f"model.begin_token, end_token, summary_token: ids up to {config.vocab_size - 1}, not {(begin, end, summary)}"
        )
    return Tokens(begin, end, summary)


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
