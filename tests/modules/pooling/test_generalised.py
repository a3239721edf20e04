"""Generalised pooling: released numbers, and what follows from weights that know ranks alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cmelt_plugin.modules.pooling.generalised import GeneralisedPooling, rank_encodings


@pytest.fixture
def pool() -> GeneralisedPooling:
    torch.manual_seed(0)
    pool = GeneralisedPooling()
    torch.nn.init.normal_(pool.score.weight)
    return pool


def states(rows: int = 3, length: int = 7, channels: int = 4) -> Tensor:
    return torch.randn(rows, length, channels, generator=torch.Generator().manual_seed(1))


def padding_of(lengths: list[int], length: int = 7) -> Tensor:
    return torch.arange(length) >= torch.tensor(lengths)[:, None]


def test_it_has_as_many_parameters_as_the_release(pool) -> None:
    assert sum(parameter.numel() for parameter in pool.parameters()) == 12_704


def test_encodings_are_sines_and_cosines_in_turn() -> None:
    expected = [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)]
    torch.testing.assert_close(rank_encodings(3, 4)[2], torch.tensor(expected))


def test_weights_sum_to_one_and_end_with_the_text(pool) -> None:
    lengths = torch.tensor([1, 4, 7])
    for weights in (pool.weights(lengths, 9), pool.eval().weights(lengths, 9)):
        torch.testing.assert_close(weights.sum(1), torch.ones(3))
        assert not weights[padding_of([1, 4, 7], 9)].any() and (weights[~padding_of([1, 4, 7], 9)] > 0).all()


@pytest.mark.parametrize("grad", [True, False])
def test_padding_changes_nothing(pool, grad: bool) -> None:
    """Neither how much there is nor what stands there, in one batch or in several."""
    x, padding = states(), padding_of([7, 3, 5])
    with torch.set_grad_enabled(grad):
        found = pool(x.masked_fill(padding.unsqueeze(2), 1e3), padding)
        longer = pool(torch.nn.functional.pad(x, (0, 0, 0, 4)), torch.nn.functional.pad(padding, (0, 4), value=True))
        alone = torch.cat([pool(x[row : row + 1, :length]) for row, length in enumerate([7, 3, 5])])
    torch.testing.assert_close(found, alone)
    torch.testing.assert_close(longer, alone)


def test_the_order_of_states_does_not_matter(pool) -> None:
    x = states()
    torch.testing.assert_close(pool(x[:, torch.randperm(7)]), pool(x))


def test_pooling_is_a_sum_over_states_with_the_weights_of_their_ranks(pool) -> None:
    x, padding = states(), padding_of([7, 3, 5])
    for mask in (None, padding):
        weights = pool.token_weights(x, mask)
        torch.testing.assert_close((weights * x).sum(1), pool(x, mask))
        torch.testing.assert_close(weights.sum(1), torch.ones(3, 4))
        assert mask is None or not weights[mask].any()
    assert torch.equal(pool.token_weights(x).sort(1).values[0, :, 0], pool.weights(7, 7)[0].sort().values)


def test_weights_are_computed_once_for_all_lengths_and_again_after_a_change(pool, monkeypatch) -> None:
    calls: list[int] = []
    computed = pool._computed
    monkeypatch.setattr(pool, "_computed", lambda lengths, n: (calls.append(n), computed(lengths, n))[1])
    with torch.no_grad():
        first = pool.eval()(states())
        pool(states(length=5)), pool(states(), padding_of([7, 3, 5]))
        assert calls == [7]
        pool.score.weight.mul_(2)
        second = pool(states())
        assert calls == [7, 7] and not torch.equal(first, second)
        pool.load_state_dict(
            {name: tensor / 2 if name == "score.weight" else tensor for name, tensor in pool.state_dict().items()}
        )
        torch.testing.assert_close(pool(states()), first)
        pool(states(length=8))
    assert calls == [7, 7, 7, 8]
    torch.testing.assert_close(pool.train()(states()).detach(), first)  # with gradient nothing is kept


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_are_float32_in_half_precision(pool, dtype) -> None:
    expected = pool(states())
    found = pool.to(dtype)(states().to(dtype))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
    found.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.dtype == dtype for parameter in pool.parameters())


def test_released_numbers(real_data: Path) -> None:
    folder = real_data / "reference" / "pcmepp_loss"
    if not folder.is_dir():
        pytest.skip(f"no released numbers at {folder}")
    from safetensors.torch import load_file

    names = {"linear.weight": "score.weight"}
    for kind in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        names.update({f"gru.{kind}": f"ahead.{kind}", f"gru.{kind}_reverse": f"back.{kind}"})
    pool, case = GeneralisedPooling(), load_file(folder / "case.safetensors")
    pool.load_state_dict({names[name]: tensor for name, tensor in load_file(folder / "weights.safetensors").items()})
    for name in ("full", "short", "one_length"):
        own = {key[len(f"gpo_{name}.") :]: value for key, value in case.items() if key.startswith(f"gpo_{name}.")}
        features = own["features"].requires_grad_()
        padding = padding_of(own["lengths"].tolist(), features.shape[1]).expand(len(features), -1)
        pooled = pool(features, padding if padding.any() else None)
        pool.zero_grad()
        (pooled * own["cotangent"]).sum().backward()
        longest = int(own["lengths"].max())
        torch.testing.assert_close(pool.weights(own["lengths"], longest)[:, :, None], own["weights"], rtol=0, atol=1e-5)
        torch.testing.assert_close(pooled, own["pooled"], rtol=0, atol=1e-5)
        torch.testing.assert_close(features.grad, own["grad_features"], rtol=0, atol=1e-5)
        for theirs, ours in names.items():
            torch.testing.assert_close(pool.get_parameter(ours).grad, own[f"grad.{theirs}"], rtol=1e-5, atol=1e-5)
