"""Batch statistics over real steps: against torch's on records cut to their length, over two ranks, in half precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cmelt_plugin.modules.ecg.length_batch_norm import LengthBatchNorm, repeated_pass, zero_padding
from tests.losses.ranks import two_ranks
from tests.modules import rank_work


def norms(channels: int = 3) -> tuple[LengthBatchNorm, nn.BatchNorm1d]:
    """Ours and torch's with the same random weights and statistics."""
    generator = torch.Generator().manual_seed(0)
    ours, theirs = LengthBatchNorm(channels), nn.BatchNorm1d(channels)
    for value in theirs.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def signal(batch: int = 4, channels: int = 3, length: int = 20, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, channels, length, generator=torch.Generator().manual_seed(seed)) * 2 + 1


@pytest.mark.parametrize("training", [True, False])
def test_without_padding_it_is_torchs_to_the_bit(training: bool) -> None:
    ours, theirs = norms()
    x = signal()
    assert torch.equal(ours.train(training)(x), theirs.train(training)(x))
    assert torch.equal(ours(x[..., 0]), theirs(x[..., 0]))
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


def test_a_padded_batch_of_one_length_equals_the_batch_cut_there() -> None:
    ours, theirs = norms()
    padded = signal()
    padded[..., 13:] = 50.0  # garbage, which must reach nothing
    ours_in, theirs_in = padded.clone().requires_grad_(), padded[..., :13].clone().requires_grad_()
    n_steps = torch.full((4,), 13)
    out, expected = ours(ours_in, n_steps)[..., :13], theirs(theirs_in)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours_in.grad[..., :13], theirs_in.grad, rtol=1e-4, atol=1e-5)
    assert not ours_in.grad[..., 13:].any()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-4, atol=1e-5)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-5, atol=1e-5)


def test_records_of_several_lengths_share_the_statistics_of_their_real_steps() -> None:
    ours, theirs = norms()
    x, n_steps = signal(), torch.tensor([20, 13, 5, 0])
    real = torch.cat([x[i, :, :n] for i, n in enumerate(n_steps.tolist())], dim=1)[None]  # one record of them all
    expected = theirs(real)[0]
    out = ours(x, n_steps)
    found = torch.cat([out[i, :, :n] for i, n in enumerate(n_steps.tolist())], dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_a_batch_without_a_real_step_changes_no_statistic() -> None:
    ours, _ = norms()
    before = ours.running_mean.clone(), ours.running_var.clone()
    assert ours(signal(), torch.zeros(4, dtype=torch.long)).isfinite().all()
    assert torch.equal(ours.running_mean, before[0]) and torch.equal(ours.running_var, before[1])


@pytest.mark.parametrize("n_steps", [None, [20, 13, 5, 8]])
@pytest.mark.parametrize("sizes", [(2, 2), (3, 1)])
def test_two_ranks_are_one_process(n_steps, sizes) -> None:
    ours, _ = norms()
    x = signal()
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    steps = torch.full((4,), 20) if n_steps is None else torch.tensor(n_steps)
    weight = zero_padding(weight, steps)
    arguments = [
        (ours.state_dict(), part, None if n_steps is None else own_steps, own_weight)
        for part, own_steps, own_weight in zip(x.split(sizes), steps.split(sizes), weight.split(sizes))
    ]
    parts = two_ranks()(rank_work.batch_norm_over_ranks, arguments)
    x.requires_grad_()
    out = ours(x, None if n_steps is None else steps)
    (out * weight).sum().backward()
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(
        torch.cat([part["out"] for part in parts]) * (weight != 0), out.detach() * (weight != 0), **close
    )
    torch.testing.assert_close(torch.cat([part["gradient"] for part in parts]), x.grad, **close)
    torch.testing.assert_close(sum(part["weight_gradient"] for part in parts), ours.weight.grad, **close)
    for part in parts:
        torch.testing.assert_close(part["running_mean"], ours.running_mean, **close)
        torch.testing.assert_close(part["running_var"], ours.running_var, **close)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_statistics_stay_in_float32_when_the_model_is_cast(dtype: torch.dtype) -> None:
    """A mean kept in bfloat16 does not move by a tenth of a thousandth; the host casts whole models."""
    ours, _ = norms()
    before = ours.running_mean.clone()
    ours.to(dtype)
    assert ours.weight.dtype == dtype
    assert torch.equal(ours.running_mean, before) and ours.running_var.dtype == torch.float32
    for n_steps in (None, torch.tensor([20, 13, 5, 8])):
        assert ours.train()(signal().to(dtype), n_steps).dtype == dtype
    assert ours.eval()(signal().to(dtype)).dtype == dtype
    with torch.device("meta"):
        laid_out = LengthBatchNorm(3)
    assert laid_out.to(dtype).running_mean.dtype == torch.float32
    assert laid_out.to_empty(device="cpu").running_mean.dtype == torch.float32


def test_a_repeated_pass_counts_once() -> None:
    ours, theirs = norms()
    x, n_steps = signal(), torch.full((4,), 20)
    outputs = []
    for steps in (None, n_steps):
        first = ours(x, steps)
        before = {name: value.clone() for name, value in ours.state_dict().items()}
        with repeated_pass(ours):
            outputs.append((first, ours(x, steps)))
        for name, value in before.items():
            assert torch.equal(ours.state_dict()[name], value), name
    for first, second in outputs:
        assert torch.equal(first, second)
    assert ours.num_batches_tracked == 2
