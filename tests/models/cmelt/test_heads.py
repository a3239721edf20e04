"""The heads: vocabulary at masked positions alone, tokens put back in place, one matching logit."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cmelt_plugin.models.cmelt.heads import ETMHead, MEMHead, MLMHead
from cmelt_plugin.modules.masking import TokenMask, gather_tokens, mask_tokens
from tests.modules.padding import assert_padding_is_not_read

N_TOKENS = 10


def mem_head(**options: int) -> MEMHead:
    torch.manual_seed(0)
    head = MEMHead(8, N_TOKENS, 6, decoder_dim=16, layers=2, heads=2, **options)
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.3)
    return head.eval()


def test_mlm_head_formula() -> None:
    head, states = MLMHead(8, 20), torch.randn(3, 8)
    hidden = F.layer_norm(F.gelu(head.dense(states)), (8,), head.layer_norm.weight, head.layer_norm.bias, 1e-12)
    torch.testing.assert_close(head(states), hidden @ head.decoder.weight.T + head.decoder.bias)


def test_projecting_masked_positions_alone_changes_nothing() -> None:
    head, states = MLMHead(8, 20), torch.randn(2, 5, 8)
    mask = torch.tensor([[False, True, False, True, False], [True, False, False, False, False]])
    torch.testing.assert_close(head(states[mask]), head(states)[mask])
    assert head(states[torch.zeros_like(mask)]).shape == (0, 20)


def test_mem_head_is_blind_to_the_order_of_visible_tokens() -> None:
    """Two shuffles of the same visible tokens give the same reconstruction: restore_ids puts them in place."""
    head, states = mem_head(), torch.randn(2, N_TOKENS, 8)
    mask = mask_tokens(torch.randint(0, 1000, (2, N_TOKENS)), 0.6)
    cls = torch.randn(2, 1, 8)
    sorted_ids = mask.keep_ids.sort(1).values
    order = torch.cat([sorted_ids, mask.dropped.nonzero()[:, 1].view(2, -1)], dim=1)
    in_order = TokenMask(sorted_ids, order.argsort(1), mask.dropped)
    assert not torch.equal(mask.keep_ids, sorted_ids)
    outputs = [head(torch.cat([cls, gather_tokens(states, m.keep_ids)], dim=1), m) for m in (mask, in_order)]
    assert outputs[0].shape == (2, N_TOKENS, 6)
    torch.testing.assert_close(*outputs)


def test_mem_head_formula() -> None:
    """Mask tokens in the dropped places, positions, decoder, projection without the CLS token."""
    head, cls = mem_head(), torch.randn(1, 1, 8)
    states = torch.randn(1, N_TOKENS, 8)
    mask = mask_tokens(torch.arange(N_TOKENS)[None, :], 0.5)  # the first five are visible, in order
    out = head(torch.cat([cls, states[:, :5]], dim=1), mask)
    x = torch.cat([head.embed(cls), head.embed(states[:, :5]), head.mask_token.expand(1, 5, -1)], dim=1)
    expected = head.predict(head.decoder(x + head.positions)[:, 1:])
    torch.testing.assert_close(out, expected)


def test_mem_head_without_mask_reads_all_tokens_in_order() -> None:
    head, states = mem_head(), torch.randn(2, 1 + N_TOKENS, 8)
    nothing_dropped = mask_tokens(torch.arange(N_TOKENS).expand(2, -1), 0.0)
    torch.testing.assert_close(head(states, None), head(states, nothing_dropped))


def test_mem_head_with_positions_of_its_own() -> None:
    """The convolution sees the mask tokens in their places, and not the CLS token, which has none in time."""
    head, cls, states = mem_head(conv_pos=3, conv_pos_groups=4), torch.randn(1, 1, 8), torch.randn(1, N_TOKENS, 8)
    mask = mask_tokens(torch.arange(N_TOKENS)[None, :], 0.5)
    tokens = torch.cat([head.embed(states[:, :5]), head.mask_token.expand(1, 5, -1)], dim=1)
    conv = head.conv_pos.pos_conv[0]
    moved = F.gelu(F.conv1d(tokens.transpose(1, 2), conv.weight, conv.bias, padding=1, groups=4)).transpose(1, 2)
    x = torch.cat([head.embed(cls), tokens + moved], dim=1) + head.positions
    out = head(torch.cat([cls, states[:, :5]], dim=1), mask)
    torch.testing.assert_close(out, head.predict(head.decoder(x)[:, 1:]))


def test_mem_head_without_them_has_the_weights_and_numbers_of_the_release() -> None:
    names = set(mem_head().state_dict())
    assert set(mem_head(conv_pos=9, conv_pos_groups=4).state_dict()) - names == {
        f"conv_pos.pos_conv.0.{name}" for name in ("bias", *(f"parametrizations.weight.original{i}" for i in (0, 1)))
    }
    assert not [name for name in names if "conv_pos" in name]


@pytest.mark.parametrize("zero_output", [True, False])
def test_mem_head_that_begins_at_zero_asks_nothing_of_the_encoder_at_first(zero_output: bool) -> None:
    """Targets of unit variance: the error is 1 from the start, and its gradient reaches the last layer alone."""
    torch.manual_seed(0)
    head = MEMHead(8, N_TOKENS, 6, decoder_dim=16, layers=2, heads=2, zero_output=zero_output)
    states, target = torch.randn(4, 1 + N_TOKENS, 8, requires_grad=True), torch.randn(4, N_TOKENS, 6)
    loss = F.mse_loss(head(states, None), target)
    loss.backward()
    assert head.predict.weight.grad.abs().sum() > 0
    if zero_output:
        torch.testing.assert_close(loss, target.square().mean())
        assert not states.grad.any()
    else:
        assert loss > 1.2 * target.square().mean() and states.grad.any()


@pytest.mark.parametrize("conv_pos", [0, 3])
def test_mem_head_does_not_see_what_stands_in_unused_places(conv_pos: int) -> None:
    """A short record has fewer visible tokens than there are places; hidden ones stand in the rest."""
    head, cls, states = mem_head(conv_pos=conv_pos), torch.randn(2, 1, 8), torch.randn(2, N_TOKENS, 8)
    padding = torch.arange(N_TOKENS)[None, :] >= torch.tensor([[N_TOKENS], [6]])
    mask = mask_tokens(torch.randint(0, 1000, (2, N_TOKENS)), 0.5, padding)
    assert mask.unused.sum(1).tolist() == [0, 2]
    visible = gather_tokens(states, mask.keep_ids)
    other = visible + 50 * mask.unused.unsqueeze(-1)
    first, second = (head(torch.cat([cls, tokens], dim=1), mask, padding) for tokens in (visible, other))
    assert torch.equal(first, second)


@pytest.mark.parametrize("conv_pos", [0, 3])
def test_mem_head_does_not_read_padding(conv_pos: int) -> None:
    head, cls = mem_head(conv_pos=conv_pos), torch.randn(2, 1, 8)
    padding = torch.arange(N_TOKENS)[None, :] >= torch.tensor([[N_TOKENS], [2]])  # fewer real tokens than places
    mask = mask_tokens(torch.randint(0, 1000, (2, N_TOKENS)), 0.5, padding)
    assert padding.gather(1, mask.keep_ids).any()

    def reconstruct(states):
        return head(torch.cat([cls, gather_tokens(states, mask.keep_ids)], dim=1), mask, padding)

    assert_padding_is_not_read(reconstruct, torch.randn(2, N_TOKENS, 8), padding)


def test_mem_positions_are_not_part_of_a_checkpoint() -> None:
    assert "positions" not in mem_head().state_dict()


def test_etm_head_is_one_layer_on_text_then_ecg() -> None:
    head, text, ecg = ETMHead(4), torch.randn(3, 4), torch.randn(3, 4)
    weight = head.dense.weight[0]
    torch.testing.assert_close(head(text, ecg), text @ weight[:4] + ecg @ weight[4:] + head.dense.bias)
