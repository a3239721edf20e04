"""The captioner's decoder: what a token sees, what is kept between tokens, what it begins with."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cmelt_plugin.modules.text import real_tokens
from cmelt_plugin.modules.text.multimodal_decoder import MultimodalDecoder


def decoder(**options) -> MultimodalDecoder:
    torch.manual_seed(0)
    made = MultimodalDecoder(16, 2, 4, 30, **options).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made


def test_a_token_sees_none_behind_it_and_all_of_the_context() -> None:
    made, x, context = decoder(), torch.randn(2, 7, 16), torch.randn(2, 5, 16)
    expected = made(x, context)
    assert expected.shape == (2, 7, 30)
    for place in range(7):
        changed = x.clone()
        changed[:, place] += torch.randn(16)
        found = made(changed, context)
        assert torch.equal(found[:, :place], expected[:, :place])
        assert (found[:, place:] - expected[:, place:]).abs().amax((0, 2)).min() > 1e-3
    for place in range(5):
        changed = context.clone()
        changed[:, place] += torch.randn(16)
        assert (made(x, changed) - expected).abs().amax((0, 2)).min() > 1e-4


def test_token_by_token_it_writes_the_same() -> None:
    made, x, context = decoder(), torch.randn(2, 7, 16), torch.randn(2, 5, 16)
    expected, caches = made(x, context), made.empty_caches()
    for place in range(7):
        found = made(x[:, place : place + 1], context, caches=caches)
        torch.testing.assert_close(found[:, 0], expected[:, place], rtol=1e-5, atol=1e-5)
        context = torch.full_like(context, float("nan"))  # it is read once


def test_what_nobody_reads_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    x, context, padding = torch.randn(2, 7, 16), torch.randn(2, 5, 16), torch.arange(7) >= torch.tensor([7, 3])[:, None]
    made, gradients = decoder(), []
    for least_width in (256, 1):
        monkeypatch.setattr(real_tokens, "LEAST_WIDTH", least_width)
        out = made(x, context, padding)
        gradients.append((out[~padding].detach(), *torch.autograd.grad(out[~padding].square().sum(), list(made.parameters()))))
        assert out[padding].any() == (least_width == 256)
    for one, other in zip(*gradients):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


def test_recomputed_activations_change_no_gradient() -> None:
    gradients = []
    for recompute in (False, True):
        made, x = decoder(recompute=recompute).train(), torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(1))
        made(x, x[:, :5]).square().sum().backward()
        gradients.append([parameter.grad for parameter in made.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients))


def test_every_weight_is_initialised() -> None:
    """D-M2: the release leaves the projection onto the vocabulary as the memory happens to be."""
    empty = torch.empty
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty", lambda *size, **options: empty(*size, **options).fill_(float("nan")))
        torch.manual_seed(0)
        made = MultimodalDecoder(16, 2, 4, 3000)
    assert all(parameter.isfinite().all() for parameter in made.parameters())
    assert float(made.vocabulary.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    logits = made(torch.randn(2, 7, 16), torch.randn(2, 5, 16))
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), torch.randint(3000, (14,)))
    assert float(loss) == pytest.approx(torch.tensor(3000.0).log().item(), abs=0.1)  # it knows nothing
