"""Greedy and beam search against a table of all texts."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from cmelt_plugin.modules.text.decoding import beam_search, greedy

BEGIN, END, VOCAB, MOST = 0, 1, 5, 4


class Table:
    """Logits of the next token from a table: of which text of several, and of the last two tokens."""

    def __init__(self, n_texts: int = 3, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        self.table = 3 * torch.randn(n_texts, VOCAB, VOCAB, VOCAB, generator=generator)
        self.text = torch.arange(n_texts)
        self.seen: list[int] = []

    def logits(self, ids: Tensor) -> Tensor:
        self.seen.append(ids.shape[1])
        before = ids[:, -2] if ids.shape[1] > 1 else torch.full_like(ids[:, -1], BEGIN)
        return self.table[self.text, before, ids[:, -1]]

    def select(self, rows: Tensor) -> None:
        self.text = self.text[rows]

    def score(self, text: int, ids: list[int], never: tuple[int, ...] = ()) -> float:
        """Mean log probability of a token."""
        total, before, last = 0.0, BEGIN, BEGIN
        for token in ids:
            logits = self.table[text, before, last].clone()
            logits[list(never)] = float("-inf")
            total += float(logits.log_softmax(-1)[token])
            before, last = last, token
        return total / len(ids)


def all_texts(never: tuple[int, ...] = ()) -> list[list[int]]:
    words = [token for token in range(VOCAB) if token not in (END, *never)]
    ended = [[*text, END] for length in range(MOST) for text in itertools.product(words, repeat=length)]
    return ended + [list(text) for text in itertools.product(words, repeat=MOST)]


def begin(n_texts: int = 3) -> Tensor:
    return torch.full((n_texts,), BEGIN)


def test_greedy_takes_the_likeliest_token_until_the_end() -> None:
    for seed in range(5):
        table = Table(seed=seed)
        for text, found in enumerate(greedy(table, begin(), END, MOST)):
            expected: list[int] = []
            while len(expected) < MOST:
                before, last = ([BEGIN, BEGIN, *expected])[-2:]
                token = int(table.table[text, before, last].argmax())
                if token == END:
                    break
                expected.append(token)
            assert found == expected


def test_it_stops_when_all_texts_have_ended() -> None:
    table = Table()
    table.table[..., END] = 50.0
    assert greedy(table, begin(), END, 100) == [[], [], []] and table.seen == [1]
    table.seen.clear()
    assert beam_search(table, begin(), END, 100, 3) == [[], [], []] and len(table.seen) < 5


@pytest.mark.parametrize("never", [(), (BEGIN, 3)])
def test_enough_beams_find_the_likeliest_text_of_all(never: tuple[int, ...]) -> None:
    """With as many beams as there are texts nothing is lost on the way."""
    texts = all_texts(never)
    for seed in range(3):
        table = Table(seed=seed)
        found = beam_search(Table(seed=seed), begin(), END, MOST, len(texts), never)
        for text, ids in enumerate(found):
            best = max(texts, key=lambda one: table.score(text, one, never))  # noqa: B023
            assert ids == [token for token in best if token != END]
            assert not set(ids) & set(never)


def test_few_beams_find_what_the_same_search_by_hand_finds() -> None:
    for seed in range(5):
        table = Table(seed=seed)
        found = beam_search(Table(seed=seed), begin(), END, MOST, 2)
        for text in range(3):
            beams: list[tuple[list[int], float]] = [([], 0.0)]
            for _ in range(MOST):
                further = []
                for ids, total in beams:
                    if END in ids:
                        further.append((ids, total))
                        continue
                    before, last = ([BEGIN, BEGIN, *ids])[-2:]
                    shares = table.table[text, before, last].log_softmax(-1).tolist()
                    further += [([*ids, token], total + share) for token, share in enumerate(shares)]
                beams = sorted(further, key=lambda beam: -beam[1])[:2]
            best = max(beams, key=lambda beam: beam[1] / len(beam[0]))[0]
            assert found[text] == [token for token in best if token != END]


def test_one_beam_is_greedy() -> None:
    for seed in range(5):
        assert beam_search(Table(seed=seed), begin(), END, MOST, 1) == greedy(Table(seed=seed), begin(), END, MOST)
    with pytest.raises(ValueError, match="0 beams"):
        beam_search(Table(), begin(), END, MOST, 0)


def test_some_tokens_are_never_written() -> None:
    table = Table()
    table.table[..., 2] = 50.0
    assert greedy(table, begin(), END, 3) == [[2, 2, 2]] * 3
    for found in (greedy(Table(), begin(), END, 3, {2}), beam_search(Table(), begin(), END, 3, 3, {2})):
        assert all(2 not in ids for ids in found)
    assert math.isfinite(table.score(0, [2]))
