"""The hosts' convolutions, told where records end: nothing changes without padding, padding changes nothing."""

from __future__ import annotations

import copy
import importlib

import pytest
import torch
from torch import Tensor, nn

from cmelt_plugin import host
from cmelt_plugin.modules.ecg.feature_extractor import (
    FIXED,
    LAYER_NORM,
    ConvStack,
    FeatureExtractor,
    LengthGroupNorm,
    conv_steps,
)

PAPER_CONV = [(16, 2, 2)] * 4
TINY_CONV = [(8, 10, 5), (12, 4, 4), (16, 2, 2)]  # windows that overlap


def extractors(conv: list[tuple[int, int, int]]) -> tuple[nn.Module, FeatureExtractor]:
    """The host's own, and ours with the same weights; its group norm scales and shifts."""
    torch.manual_seed(0)
    theirs = host.ecg_feature_extractor(conv, 12)
    for parameter in (theirs.conv_layers[0][2].weight, theirs.conv_layers[0][2].bias):
        nn.init.normal_(parameter)
    return theirs, FeatureExtractor(copy.deepcopy(theirs), conv)


def cut(ecg: Tensor, n_samples: Tensor) -> Tensor:
    return ecg * (torch.arange(ecg.shape[-1]) < n_samples[:, None, None])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("conv", [PAPER_CONV, TINY_CONV])
def test_whole_records_get_the_bits_of_the_hosts_own(conv, dtype: torch.dtype) -> None:
    theirs, ours = (module.to(dtype) for module in extractors(conv))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ecg = torch.randn(4, 12, 1000).to(dtype)
    ecg[1, 3] = 0.2  # a flat lead
    expected = theirs(ecg)
    assert torch.equal(ours(ecg), expected)
    n_samples = torch.tensor([1000, 1000, 600, 1000])  # also beside a short record
    whole = ours(cut(ecg, n_samples), n_samples)
    assert torch.equal(whole[n_samples == 1000], expected[n_samples == 1000])


@pytest.mark.parametrize("conv", [PAPER_CONV, TINY_CONV])
def test_steps_that_saw_no_padding_are_those_of_the_record_cut(conv) -> None:
    """With the zeros of the padding in the statistics they were off by up to 0.4 of their size."""
    theirs, ours = extractors(conv)
    n_samples = torch.tensor([1000, 999, 500, 333, 100])
    ecg = torch.randn(5, 12, 1000) + torch.randn(5, 12, 1)
    padded = ours(cut(ecg, n_samples), n_samples)
    for row, length in enumerate(n_samples.tolist()):
        alone = theirs(ecg[row : row + 1, :, :length])[0]
        torch.testing.assert_close(padded[row, :, : alone.shape[-1]], alone, rtol=0, atol=1e-5)
    without = theirs(cut(ecg, n_samples))[2, :, :15]
    assert (without - padded[2, :, :15]).norm() > 0.2 * without.norm()


def test_gradients_are_those_of_the_record_cut() -> None:
    theirs, ours = extractors(TINY_CONV)
    ecg, weights = torch.randn(1, 12, 1000), torch.randn(1, 16, 14)
    (theirs(ecg[..., :600])[..., :14] * weights).sum().backward()
    n_samples = torch.tensor([600])
    (ours(cut(ecg, n_samples), n_samples)[..., :14] * weights).sum().backward()
    for (name, expected), got in zip(theirs.named_parameters(), ours.parameters()):
        torch.testing.assert_close(got.grad, expected.grad, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("length", [0, 1, 2, 9])
def test_next_to_nothing_is_no_infinity(length: int) -> None:
    _, ours = extractors(TINY_CONV)
    n_samples = torch.tensor([length])
    out = ours(cut(torch.randn(1, 12, 200), n_samples), n_samples)
    out.sum().backward()
    assert out.isfinite().all() and all(parameter.grad.isfinite().all() for parameter in ours.parameters())


def test_steps_of_a_convolution() -> None:
    lengths = torch.arange(0, 60)
    for kernel, stride in ((2, 2), (10, 5), (4, 1)):
        expected = [nn.functional.conv1d(torch.zeros(1, 1, n), torch.zeros(1, 1, kernel), stride=stride).shape[-1]
                    if n >= kernel else 0 for n in lengths.tolist()]  # fmt: skip
        assert conv_steps(lengths, kernel, stride).clamp(min=0).tolist() == expected


@pytest.mark.skipif(host.IS_SIGNALS, reason="fairseq-signals' own layer_norm mode fails when it is built")
def test_layer_norm_mode_is_wav2vecs_own() -> None:
    """The names of its weights and its numbers, in float32 and below."""
    torch.manual_seed(0)
    module = importlib.import_module("fairseq.models.wav2vec.wav2vec2")
    theirs = module.ConvFeatureExtractionModel(TINY_CONV, dropout=0.0, mode=LAYER_NORM, conv_bias=True)
    ours = FeatureExtractor(ConvStack(TINY_CONV, 1, LAYER_NORM), TINY_CONV)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    audio = torch.randn(2, 1000)
    for dtype in (torch.float32, torch.bfloat16):
        seen = audio.to(dtype)
        assert torch.equal(ours.to(dtype)(seen[:, None]), theirs.to(dtype)(seen))


def test_fixed_mode_reads_no_statistic_of_the_recording() -> None:
    ours = FeatureExtractor(ConvStack(PAPER_CONV, 12, FIXED), PAPER_CONV)
    assert list(ours.state_dict()) == list(extractors(PAPER_CONV)[1].state_dict())
    ecg = torch.randn(1, 12, 1000)
    other = torch.cat([ecg[..., :500], 9 * torch.randn(1, 12, 500)], dim=-1)
    assert torch.equal(ours(ecg)[..., :31], ours(other)[..., :31])


def test_another_kind_of_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="one group a channel"):
        LengthGroupNorm(nn.GroupNorm(2, 4))
