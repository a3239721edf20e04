"""The captioning loss against its formula written as a loop."""

from __future__ import annotations

import torch

from cmelt_plugin.losses import caption_loss
from cmelt_plugin.losses.mlm import IGNORED

LABELS = torch.tensor([[3, 0, 6, IGNORED], [5, IGNORED, IGNORED, IGNORED]])


def logits_of(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_sum_of_minus_log_softmax_at_real_tokens() -> None:
    logits = logits_of().double().requires_grad_()
    naive = torch.zeros((), dtype=torch.float64)
    for row in range(2):
        for place in range(4):
            if LABELS[row, place] != IGNORED:
                shares = logits[row, place].exp() / logits[row, place].exp().sum()
                naive = naive - shares[LABELS[row, place]].log()
    found = caption_loss(logits, LABELS)
    torch.testing.assert_close(found.total.double(), naive, rtol=1e-6, atol=1e-6)
    gradients = (torch.autograd.grad(value, logits)[0] for value in (found.total, naive))
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


def test_it_counts_tokens_and_right_ones() -> None:
    logits = logits_of()
    logits[0, 0, 3] = logits[1, 0, 5] = 20.0
    logits[0, 1, 1] = logits[0, 2, 1] = 20.0
    found = caption_loss(logits, LABELS)
    assert (int(found.tokens), int(found.correct)) == (4, 2)


def test_places_without_a_token_do_not_matter() -> None:
    logits = logits_of().requires_grad_()
    caption_loss(logits, LABELS).total.backward()
    ignored = LABELS == IGNORED
    assert not logits.grad[ignored].any() and logits.grad[~ignored].abs().amax(dim=-1).min() > 0
    nothing = caption_loss(logits, torch.full_like(LABELS, IGNORED))
    assert nothing.total == 0 and nothing.tokens == nothing.correct == 0


def test_half_precision_is_computed_in_float32() -> None:
    logits = logits_of().bfloat16()
    found = caption_loss(logits, LABELS).total
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, caption_loss(logits.float(), LABELS).total)
