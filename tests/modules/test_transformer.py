"""Attention and transformer layers against PyTorch's own and against their formulas; padding is never read."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cmelt_plugin.modules.transformer import (
    ACTIVATIONS,
    Attention,
    CrossModalLayer,
    Encoder,
    EncoderLayer,
    init_bert_weights,
    sinusoidal_positions,
)
from tests.modules.padding import assert_padding_is_not_read

DIM, HEADS, FFN = 16, 4, 24
PADDING = torch.tensor([[False] * 5, [False, False, False, True, True]])


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def roughened(module: nn.Module) -> nn.Module:
    """In evaluation mode, with norms and biases that are not ones and zeros, so that a forgotten one shows."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    return module.eval()


@pytest.mark.parametrize("padding", [None, PADDING])
@pytest.mark.parametrize("crossed", [False, True])
def test_attention_equals_pytorchs(padding, crossed: bool) -> None:
    ours, theirs = roughened(Attention(DIM, HEADS)), nn.MultiheadAttention(DIM, HEADS, batch_first=True).eval()
    projections = (ours.q_proj, ours.k_proj, ours.v_proj)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        theirs.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
        theirs.out_proj.load_state_dict(ours.out_proj.state_dict())
    context = torch.randn(2, 5, DIM)
    x = torch.randn(2, 3, DIM) if crossed else context
    out = ours(x, context if crossed else None, padding)
    expected, _ = theirs(x, context, context, key_padding_mask=padding)
    torch.testing.assert_close(out, expected)


def test_attention_wants_heads_that_divide_the_width() -> None:
    with pytest.raises(ValueError, match="16 .* 3"):
        Attention(16, 3)


def test_attention_dropout_acts_in_training_alone() -> None:
    attention, x = Attention(DIM, HEADS, dropout=0.5), torch.randn(2, 5, DIM)
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))


def test_post_norm_layer_formula() -> None:
    layer, x = roughened(EncoderLayer(DIM, HEADS, FFN)), torch.randn(2, 5, DIM)
    attended = layer.self_attn_layer_norm(x + layer.self_attn(x))
    expected = layer.final_layer_norm(attended + layer.fc2(F.gelu(layer.fc1(attended))))
    torch.testing.assert_close(layer(x), expected)


def test_pre_norm_layer_formula() -> None:
    layer, x = roughened(EncoderLayer(DIM, HEADS, FFN, norm_first=True)), torch.randn(2, 5, DIM)
    attended = x + layer.self_attn(layer.self_attn_layer_norm(x))
    expected = attended + layer.fc2(F.gelu(layer.fc1(layer.final_layer_norm(attended))))
    torch.testing.assert_close(layer(x), expected)


def test_cross_modal_layer_formula() -> None:
    layer = roughened(CrossModalLayer(DIM, HEADS, FFN))
    x, other = torch.randn(2, 5, DIM), torch.randn(2, 3, DIM)
    own = layer.self_attn_layer_norm(x + layer.self_attn(x))
    informed = layer.cross_attn_layer_norm(own + layer.cross_attn(own, other))
    expected = layer.final_layer_norm(informed + layer.fc2(F.gelu(layer.fc1(informed))))
    torch.testing.assert_close(layer(x, other), expected)


@pytest.mark.parametrize("frozen", ["", "fc1", "fc2"])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_made_again_in_the_backward_pass_give_the_same_bits(activation: str, bf16: bool, frozen: str) -> None:
    layer, x = EncoderLayer(DIM, HEADS, FFN, 0.0, 0.0, activation=activation), torch.randn(2, 5, DIM, requires_grad=True)
    if frozen:
        layer.get_submodule(frozen).requires_grad_(False)
    leaves = [x, *(parameter for parameter in layer.parameters() if parameter.requires_grad)]

    def dense(states: torch.Tensor) -> torch.Tensor:
        return layer.fc2(ACTIVATIONS[activation](layer.fc1(states)))

    found, kept = [], []
    for way in (layer.feed_forward, dense):
        sizes: list[torch.Size] = []
        hooks = torch.autograd.graph.saved_tensors_hooks(lambda kept, s=sizes: s.append(kept.shape) or kept, lambda kept: kept)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            with hooks:
                loss = way(x).float().square().sum()
        found.append([loss, *torch.autograd.grad(loss, leaves, allow_unused=True)])
        kept.append(sum(math.prod(shape) == 2 * 5 * FFN for shape in sizes))
    assert all(one is other is None or torch.equal(one, other) for one, other in zip(*found))
    assert kept[0] == 1
    assert kept[1] > 1 or frozen == "fc2"  # which asks for nothing behind the activation


def test_post_norm_stack_normalises_in_front_and_pre_norm_stack_behind() -> None:
    x = torch.randn(2, 5, DIM)
    post = roughened(Encoder(2, DIM, HEADS, FFN))
    torch.testing.assert_close(post(x), post.layers[1](post.layers[0](post.layer_norm(x))))
    pre = roughened(Encoder(2, DIM, HEADS, FFN, norm_first=True))
    torch.testing.assert_close(pre(x), pre.layer_norm(pre.layers[1](pre.layers[0](x))))
    assert all(layer.norm_first for layer in pre.layers) and not any(layer.norm_first for layer in post.layers)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("kind", [EncoderLayer, Encoder])
def test_padding_is_not_read_by_self_attention(kind, norm_first: bool) -> None:
    sizes = (2, DIM, HEADS, FFN) if kind is Encoder else (DIM, HEADS, FFN)
    module = roughened(kind(*sizes, norm_first=norm_first))
    assert_padding_is_not_read(lambda states: module(states, PADDING), torch.randn(2, 5, DIM), PADDING)


def test_padding_of_neither_side_is_read_by_a_cross_modal_layer() -> None:
    layer = roughened(CrossModalLayer(DIM, HEADS, FFN))
    own, other = torch.randn(2, 5, DIM), torch.randn(2, 4, DIM)
    other_padding = torch.tensor([[False, False, True, True], [False] * 4])
    assert_padding_is_not_read(lambda states: layer(states, other, PADDING, other_padding), own, PADDING)
    assert_padding_is_not_read(lambda states: layer(own, states, PADDING, other_padding), other, other_padding)


def test_bert_initialisation() -> None:
    linear, embedding = nn.Linear(200, 200), nn.Embedding(100, 200)
    for module in (linear, embedding):
        init_bert_weights(module)
        assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not linear.bias.any()


@pytest.mark.parametrize("dim", [6, 7])
def test_sinusoidal_positions_formula(dim: int) -> None:
    table = sinusoidal_positions(9, dim)
    for position in range(9):
        for column in range(dim):
            angle = position / 10000 ** ((column - column % 2) / dim)
            expected = math.cos(angle) if column % 2 else math.sin(angle)
            assert table[position, column].item() == pytest.approx(expected, abs=1e-5)
