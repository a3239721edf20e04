"""The ECG encoder: paper sizes, wav2vec's names, masking, short records, frozen convolutions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmelt_plugin import host
from cmelt_plugin.modules.ecg.conv_positions import ConvPositionalEncoding
from cmelt_plugin.modules.ecg.ecg_encoder import ECGEncoder

PAPER_CONV = [(256, 2, 2)] * 4
TINY_CONV = [(16, 2, 2)] * 4
TINY = {"dim": 16, "layers": 2, "heads": 2, "ffn_dim": 32, "conv_pos": 8, "conv_pos_groups": 2}

# The names of the released weights and of fairseq-signals' wav2vec models, norm of weights in its new spelling.
LAYER_NAMES = [
    *(f"self_attn.{name}_proj.{kind}" for name in ("q", "k", "v", "out") for kind in ("weight", "bias")),
    *(f"{name}.{kind}" for name in ("self_attn_layer_norm", "fc1", "fc2", "final_layer_norm") for kind in ("weight", "bias")),
]
NAMES = {
    "class_embedding",
    *(f"feature_extractor.conv_layers.{i}.0.weight" for i in range(4)),
    *(f"feature_extractor.conv_layers.0.2.{kind}" for kind in ("weight", "bias")),
    *(f"{name}.{kind}" for name in ("layer_norm", "post_extract_proj", "encoder.layer_norm") for kind in ("weight", "bias")),
    "conv_pos.pos_conv.0.bias",
    "conv_pos.pos_conv.0.parametrizations.weight.original0",
    "conv_pos.pos_conv.0.parametrizations.weight.original1",
    *(f"encoder.layers.{i}.{name}" for i in range(2) for name in LAYER_NAMES),
}


def tiny_encoder(**changes: Any) -> ECGEncoder:
    torch.manual_seed(0)
    return ECGEncoder(host.ecg_feature_extractor(TINY_CONV, 12), TINY_CONV, **{**TINY, **changes}).eval()


def test_paper_sizes() -> None:
    encoder = ECGEncoder(host.ecg_feature_extractor(PAPER_CONV, 12), PAPER_CONV, layers=0)
    features = encoder.feature_extractor(torch.randn(2, 12, 5000))
    assert features.shape == (2, 256, 312)
    assert encoder.n_tokens(5000) == 312 and encoder.samples_per_token == 16
    assert encoder(torch.randn(2, 12, 5000)).states.shape == (2, 313, 768)
    shapes = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    assert shapes["feature_extractor.conv_layers.0.0.weight"] == (256, 12, 2)
    assert shapes["feature_extractor.conv_layers.3.0.weight"] == (256, 256, 2)
    assert shapes["conv_pos.pos_conv.0.parametrizations.weight.original1"] == (768, 48, 128)


@pytest.mark.parametrize("n_samples", [31, 32, 100, 4999, 5000])
@pytest.mark.parametrize("conv", [TINY_CONV, [(8, 10, 5), (8, 3, 2)]])
def test_n_tokens_is_what_the_convolutions_give(conv, n_samples: int) -> None:
    encoder = ECGEncoder(host.ecg_feature_extractor(conv, 12), conv, **{**TINY, "layers": 0})
    assert encoder.feature_extractor(torch.randn(1, 12, n_samples)).shape[-1] == encoder.n_tokens(n_samples)


def test_a_record_shorter_than_a_token_has_none() -> None:
    assert tiny_encoder().n_tokens(15) == 0


def test_state_names_are_wav2vecs() -> None:
    assert set(tiny_encoder().state_dict()) == NAMES


def test_feature_extractor_is_convolution_group_norm_gelu() -> None:
    """GroupNorm with one group a channel in the first block only, no biases of convolutions."""
    extractor, x = tiny_encoder().feature_extractor, torch.randn(2, 12, 64)
    weights = [extractor.conv_layers[i][0].weight for i in range(4)]
    norm = extractor.conv_layers[0][2]
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    expected = x
    for i, weight in enumerate(weights):
        expected = F.conv1d(expected, weight, stride=2)
        if i == 0:
            expected = F.group_norm(expected, 16, norm.weight, norm.bias)
        expected = F.gelu(expected)
    torch.testing.assert_close(extractor(x), expected)


def test_forward_is_features_projection_positions_cls_transformer() -> None:
    encoder, ecg = tiny_encoder(), torch.randn(2, 12, 320)
    x = encoder.post_extract_proj(encoder.layer_norm(encoder.feature_extractor(ecg).transpose(1, 2)))
    x = x + encoder.conv_pos(x)
    x = torch.cat([encoder.class_embedding.expand(2, 1, -1), x], dim=1)
    out = encoder(ecg)
    torch.testing.assert_close(out.states, encoder.encoder(x))
    assert out.padding_mask is None and out.mask is None and out.token_padding_mask is None


@pytest.mark.parametrize("kernel", [8, 9])
def test_position_embedding_keeps_the_length(kernel: int) -> None:
    conv_pos, x = ConvPositionalEncoding(16, kernel, 2), torch.randn(2, 11, 16)
    conv = conv_pos.pos_conv[0]
    full = F.conv1d(x.transpose(1, 2), conv.weight, conv.bias, padding=kernel // 2, groups=2)
    torch.testing.assert_close(conv_pos(x), F.gelu(full[..., :11]).transpose(1, 2))


def test_masked_tokens_are_dropped_before_the_transformer() -> None:
    encoder, ecg = tiny_encoder(), torch.randn(2, 12, 320)
    noise = torch.randint(0, 2**31, (2, 20))
    out = encoder(ecg, mask_noise=noise, mask_ratio=0.75)
    assert out.states.shape == (2, 6, 16)
    x, _ = encoder.embed(ecg)
    x = torch.stack([x[row, ids] for row, ids in enumerate(out.mask.keep_ids)])
    x = torch.cat([encoder.class_embedding.expand(2, 1, -1), x], dim=1)
    torch.testing.assert_close(out.states, encoder.encoder(x))


def test_a_record_has_the_tokens_it_would_have_were_it_cut() -> None:
    """A token at the border, of real samples and padding, is padding; one token there always is."""
    encoder = tiny_encoder()
    padding = encoder.token_padding_mask(torch.tensor([320, 33, 32, 31, 1]), 20)
    assert (~padding).sum(1).tolist() == [20, 2, 2, 1, 1]
    assert not padding[1, :2].any()


OVERLAPPING_CONV = [(8, 10, 5), (16, 3, 2)]


@pytest.mark.parametrize("conv", [TINY_CONV, OVERLAPPING_CONV])
@pytest.mark.parametrize("masked", [False, True])
def test_a_padded_record_is_encoded_as_the_record_cut(conv, masked: bool) -> None:
    """Group normalisation, positions, attention and the share of masked tokens: all over the real part alone."""
    torch.manual_seed(0)
    sizes = {**TINY, "masked_tokens_in_positions": False}
    encoder = ECGEncoder(host.ecg_feature_extractor(conv, 12), conv, **sizes).eval()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    lengths = [640, 630, 400, 203, 64, 40]
    ecg, noise = torch.randn(len(lengths), 12, 640), torch.randint(0, 2**31, (len(lengths), encoder.n_tokens(640)))
    options = {"mask_noise": noise, "mask_ratio": 0.75} if masked else {}
    padded = encoder(ecg, torch.tensor(lengths), **options)
    for row, length in enumerate(lengths):
        n_tokens = encoder.n_tokens(length)
        if masked:
            options["mask_noise"] = noise[row : row + 1, :n_tokens]
        alone = encoder(ecg[row : row + 1, :, :length], **options)
        real = ~padded.padding_mask[row]
        assert int(real.sum()) == alone.states.shape[1]
        torch.testing.assert_close(padded.states[row][real], alone.states[0], rtol=0, atol=1e-5)
        if masked:
            assert torch.equal(padded.mask.dropped[row, :n_tokens], alone.mask.dropped[0])


def hidden_gradient(encoder: ECGEncoder, noise: Tensor, of: str) -> tuple[Tensor, Tensor]:
    """Largest gradient of the visible states at each token ``[B, N]``, of its features or samples, and which are hidden."""
    ecg, features = torch.randn(2, 12, 320).requires_grad_(), []
    encoder.feature_extractor.register_forward_hook(lambda module, inputs, output: features.append(output))
    out = encoder(ecg, mask_noise=noise, mask_ratio=0.75)
    source = ecg if of == "samples" else features[0]
    [gradient] = torch.autograd.grad((out.states * torch.randn(out.states.shape)).sum(), source)
    return gradient.unflatten(-1, (noise.shape[1], -1)).abs().amax(dim=(1, 3)), out.mask.dropped


@pytest.mark.parametrize("released", [False, True])
def test_hidden_tokens_do_not_reach_visible_ones_through_positions(released: bool) -> None:
    encoder, noise = tiny_encoder(masked_tokens_in_positions=released), torch.randint(0, 2**31, (2, 20))
    gradient, dropped = hidden_gradient(encoder, noise, "features")
    assert gradient[~dropped].min() > 0
    assert bool(gradient[dropped].any()) == released  # not a small gradient: none


def test_hidden_samples_reach_visible_tokens_through_the_statistics_of_group_norm_alone() -> None:
    """Mean and variance of a channel are those of the whole record, two numbers a channel; otherwise no gradient at all."""
    encoder, noise = tiny_encoder(masked_tokens_in_positions=False), torch.randint(0, 2**31, (2, 20))
    gradient, dropped = hidden_gradient(encoder, noise, "samples")
    assert 0 < gradient[dropped].max() < 0.2 * gradient[~dropped].max()
    encoder.feature_extractor.conv_layers[0][2].forward = lambda x, n_steps=None: 0.7 * x
    gradient, dropped = hidden_gradient(encoder, noise, "samples")
    assert gradient[~dropped].min() > 0 and not gradient[dropped].any()


def test_what_is_seen_without_a_mask_does_not_depend_on_the_switch() -> None:
    ecg = torch.randn(2, 12, 320)
    first, second = (tiny_encoder(masked_tokens_in_positions=released)(ecg).states for released in (False, True))
    assert torch.equal(first, second)


@pytest.mark.parametrize("masked", [False, True])
def test_what_stands_in_the_padding_reaches_no_real_token(masked: bool) -> None:
    encoder, n_samples = tiny_encoder(), torch.tensor([640, 200, 17])
    zeros = torch.randn(3, 12, 640) * (torch.arange(640) < n_samples[:, None, None])
    garbage = torch.where(torch.arange(640) < n_samples[:, None, None], zeros, 30 * torch.randn(3, 12, 640))
    options = {"mask_noise": torch.randint(0, 2**31, (3, 40)), "mask_ratio": 0.5} if masked else {}
    clean, dirty = (encoder(ecg, n_samples, **options) for ecg in (zeros, garbage))
    assert (~clean.padding_mask).sum(1).tolist() == ([21, 7, 2] if masked else [41, 13, 2])
    torch.testing.assert_close(clean.states[~clean.padding_mask], dirty.states[~dirty.padding_mask])
    assert not torch.allclose(encoder(zeros).states[1], encoder(garbage).states[1], atol=1e-2)


def test_padding_tokens_are_not_attended_to() -> None:
    encoder = tiny_encoder()
    for parameter in encoder.encoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    ecg, n_samples = torch.randn(1, 12, 320), torch.tensor([160])
    x, _ = encoder.embed(ecg, n_samples)
    alone = torch.cat([encoder.class_embedding.expand(1, 1, -1), x[:, :10]], dim=1)
    torch.testing.assert_close(encoder(ecg, n_samples).states[:, :11], encoder.encoder(alone))


def test_padding_tokens_give_no_positions_to_real_ones() -> None:
    """Past the end the position convolution sees zeros, as past the end of an array; not what zero samples map to."""
    encoder = tiny_encoder()
    nn.init.normal_(encoder.post_extract_proj.bias)
    ecg = torch.randn(1, 12, 320) * (torch.arange(320) < 160)
    features = encoder.layer_norm(encoder.feature_extractor(ecg[..., :160]).transpose(1, 2))
    alone = encoder.post_extract_proj(features)
    x, padding = encoder.embed(ecg, torch.tensor([160]))
    assert padding.tolist() == [[False] * 10 + [True] * 10]
    torch.testing.assert_close(x[:, :10], alone + encoder.conv_pos(alone))


def test_a_whole_record_is_encoded_the_same_beside_a_short_one() -> None:
    encoder, ecg = tiny_encoder(), torch.randn(1, 12, 320)
    beside = encoder(torch.cat([ecg, ecg]), torch.tensor([320, 50]))
    torch.testing.assert_close(beside.states[:1], encoder(ecg).states)


def feature_gradient(mult: float):
    encoder = tiny_encoder(feature_grad_mult=mult)
    torch.manual_seed(1)
    states = encoder(torch.randn(2, 12, 160)).states
    (states * torch.randn(states.shape)).sum().backward()
    return encoder.feature_extractor.conv_layers[1][0].weight.grad, encoder.post_extract_proj.weight.grad


def test_feature_grad_mult_scales_the_gradient_of_the_convolutions_alone() -> None:
    whole, behind = feature_gradient(1.0)
    tenth, behind_tenth = feature_gradient(0.1)
    assert whole.abs().max() > 1e-4
    torch.testing.assert_close(tenth, 0.1 * whole)
    torch.testing.assert_close(behind_tenth, behind)


def test_feature_grad_mult_zero_freezes_the_convolutions() -> None:
    gradient, behind = feature_gradient(0.0)
    assert gradient is None and behind.abs().max() > 0
    encoder = tiny_encoder(feature_grad_mult=0.0)
    assert not any(parameter.requires_grad for parameter in encoder.feature_extractor.parameters())
    assert encoder.layer_norm.weight.requires_grad


@torch.no_grad()
def test_the_signal_takes_the_precision_of_the_weights() -> None:
    encoder, ecg = tiny_encoder(), torch.randn(2, 12, 320)
    expected = encoder(ecg).states
    assert torch.equal(encoder(ecg.double()).states, expected)
    with torch.autocast("cpu", torch.bfloat16):  # the weights are float32: autocast decides
        mixed = encoder(ecg).states
        assert mixed.dtype == encoder(ecg.bfloat16().float()).states.dtype
    torch.testing.assert_close(mixed.float(), expected, rtol=0.1, atol=0.1)
    for dtype in (torch.float64, torch.bfloat16):
        encoder.to(dtype)
        states = encoder(ecg).states
        assert states.dtype == dtype and torch.equal(states, encoder(ecg.to(dtype)).states)


def test_steps_in_place_of_millivolts_are_refused() -> None:
    with pytest.raises(TypeError, match="floating-point numbers, not torch.int16"):
        tiny_encoder()(torch.ones(1, 12, 320, dtype=torch.int16))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("n_samples", [None, [800, 500]])
def test_one_more_token_reads_the_others_and_is_not_read(masked: bool, n_samples: list[int] | None) -> None:
    encoder, query, lengths = tiny_encoder(), torch.randn(16), None if n_samples is None else torch.tensor(n_samples)
    ecg = torch.randn(2, 12, 800, generator=torch.Generator().manual_seed(2))
    noise = torch.randperm(100)[None, :50].expand(2, -1) if masked else None
    alone = encoder(ecg, lengths, noise, 0.5)
    found = encoder(ecg, lengths, noise, 0.5, query)
    assert alone.query is None and found.query.shape == (2, 16)
    real = slice(None) if found.padding_mask is None else ~found.padding_mask
    torch.testing.assert_close(found.states[real], alone.states[real])
    if n_samples is not None and not masked:
        torch.testing.assert_close(encoder(ecg[1:, :, :500], query=query).query, found.query[1:])
    assert not torch.allclose(found.query[0], found.query[1], atol=1e-3)
