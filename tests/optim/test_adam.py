"""``cmelt_adam`` steps as the host's Adam does, whatever kernels it uses."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from cmelt_plugin import host
from cmelt_plugin.errors import DataError
from cmelt_plugin.optim import multi_tensor
from cmelt_plugin.optim.adam import LayerwiseAdam, LayerwiseAdamConfig
from cmelt_plugin.optim.depths import set_depth
from cmelt_plugin.optim.multi_tensor import MultiTensorAdam, has_fused_kernel

STEPS = 6
needs_cpu_kernel = pytest.mark.skipif(not has_fused_kernel("cpu"), reason="this PyTorch has no fused Adam for the CPU")
KERNELS = ["auto", pytest.param("true", marks=needs_cpu_kernel)]


def parameters() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((5, 7), (3,), (), (2, 3, 4))
    out = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    return [*out, torch.nn.Parameter(torch.randn(4, 6, generator=generator).t())]  # another order in memory


def gradient(parameter: torch.Tensor, number: int, step: int) -> torch.Tensor | None:
    """Large, tiny (where ε decides) and now and then none."""
    if number == 1 and step in (0, 3):
        return None
    scale = (1.0, 1e-3, 1e-6, 1e-7, 10.0)[number]
    return scale * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(100 * step + number))


def optimiser(params: list[torch.nn.Parameter], fused: str | None, **changes):
    """``cmelt_adam``, or the host's ``adam`` for None."""
    values = {"adam_betas": "(0.9, 0.98)", "adam_eps": 1e-6, "weight_decay": 0.05, "lr": [3e-3], **changes}
    if not host.IS_SIGNALS:
        values["tpu"] = False
    if fused is None:
        return host.Adam(host.AdamConfig(**values), params)
    return LayerwiseAdam(LayerwiseAdamConfig(fused=fused, **values), params)


def train(params: list[torch.nn.Parameter], adam, steps: range = range(STEPS)) -> list[torch.Tensor]:
    for step in steps:
        adam.set_lr(3e-3 * (1 + step))
        for number, parameter in enumerate(params):
            parameter.grad = gradient(parameter, number, step)
        adam.step()
    return [parameter.detach().clone() for parameter in params]


def hosts_result(**changes) -> list[torch.Tensor]:
    params = parameters()
    return train(params, optimiser(params, None, **changes))


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_parameter_lists_equal_the_hosts_adam_bit_for_bit(weight_decay: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi_tensor, "CHUNK_ELEMENTS", 20)  # several runs, and one parameter larger than a run
    params = parameters()
    adam = optimiser(params, "auto", weight_decay=weight_decay)
    assert isinstance(adam.optimizer, MultiTensorAdam)
    for got, expected, start in zip(train(params, adam), hosts_result(weight_decay=weight_decay), parameters()):
        assert torch.equal(got, expected) and not torch.allclose(got, start, atol=1e-3)


@needs_cpu_kernel
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_the_fused_kernel_equals_the_hosts_adam(weight_decay: float) -> None:
    params = parameters()
    for got, expected in zip(
        train(params, optimiser(params, "true", weight_decay=weight_decay)), hosts_result(weight_decay=weight_decay)
    ):
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_fused_kernel_of_a_gpu_equals_the_hosts_adam() -> None:
    params = [torch.nn.Parameter(parameter.detach().cuda()) for parameter in parameters()]
    adam = optimiser(params, "auto")
    for step in range(STEPS):
        adam.set_lr(3e-3 * (1 + step))
        for number, parameter in enumerate(params):
            value = gradient(parameter.detach().cpu(), number, step)
            parameter.grad = None if value is None else value.cuda()
        adam.step()
    for got, expected in zip(params, hosts_result()):
        torch.testing.assert_close(got.detach().cpu(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("fused", KERNELS)
def test_state_goes_back_and_forth_between_the_hosts_adam_and_ours(fused: str) -> None:
    for first, second in ((None, fused), (fused, None), (fused, fused)):
        params = parameters()
        before = optimiser(params, first)
        train(params, before, range(3))
        saved = copy.deepcopy(before.state_dict())
        after = optimiser(params, second)
        after.load_state_dict(saved)
        for got, expected in zip(train(params, after, range(3, STEPS)), hosts_result()):
            torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


def test_half_precision_parameters_are_left_to_the_host() -> None:
    results = []
    for fused in (None, "auto"):
        params = [torch.nn.Parameter(parameter.detach().bfloat16()) for parameter in parameters()]
        adam = optimiser(params, fused)
        for step in range(3):
            for number, parameter in enumerate(params):
                value = gradient(parameter, number, step)
                parameter.grad = None if value is None else value.bfloat16()
            adam.step()
        results.append(params)
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_layer_decay_holds_for_every_kernel() -> None:
    """A layer further down moves by a smaller share of the same step."""
    for fused in ("false", "auto", *(["true"] if has_fused_kernel("cpu") else [])):
        params = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
        for depth, parameter in enumerate(params):
            set_depth(parameter, depth)
            parameter.grad = torch.ones(2)
        optimiser(params, fused, layer_decay=0.5, weight_decay=0.0).step()
        torch.testing.assert_close(params[1].detach() / params[0].detach(), torch.full((2,), 0.5))


@pytest.mark.parametrize("fused", ["false", "auto"])
@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_biases_norms_and_temperatures_need_not_decay(fused: str, layer_decay: float) -> None:
    """D-M15: MELP's release lets all of them decay by 0.2. The rest of the step, and a resumed one, stay as they are."""
    weights = []
    for options in ({"weight_decay": 0.0}, {"decay_vectors": False}, {}):
        params = parameters()
        for depth, parameter in enumerate(params):
            set_depth(parameter, depth % 2)
        adam = optimiser(params, fused, layer_decay=layer_decay, **options)
        train(params, adam, range(2))
        assert adam.get_lr() == pytest.approx(6e-3)
        again = optimiser(params, fused, layer_decay=layer_decay, **options)
        again.load_state_dict(copy.deepcopy(adam.state_dict()))
        weights.append(train(params, again, range(2, 4)))
    for none, vectors_without, all_of_them in zip(*weights):
        expected, other = (none, all_of_them) if none.ndim < 2 else (all_of_them, none)
        assert torch.equal(vectors_without, expected) and not torch.equal(expected, other)


def test_a_flat_copy_of_all_parameters_is_no_vector_that_may_be_spared() -> None:
    with pytest.raises(DataError, match="common.fp16_no_flatten_grads=true"):
        optimiser([torch.nn.Parameter(torch.zeros(4))], "auto", decay_vectors=False)


@pytest.mark.parametrize("value", [False, "False", "false"])
def test_the_hosts_own_loop_can_be_asked_for(value) -> None:
    assert not isinstance(optimiser(parameters(), value).optimizer, MultiTensorAdam)


def test_another_word_is_refused() -> None:
    with pytest.raises(DataError, match=r"optimizer\.fused must be one of auto, true, false"):
        optimiser(parameters(), "sometimes")


def test_old_pytorch_without_the_cpu_kernel_uses_parameter_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi_tensor, "has_fused_kernel", lambda device: False)
    params = parameters()
    for got, expected in zip(train(params, optimiser(params, "true")), hosts_result()):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("fused", ["false", "auto"])
@pytest.mark.parametrize("options", [{}, {"decay_vectors": False}, {"layer_decay": 0.5}])
def test_single_numbers_can_learn_faster(fused: str, options: dict[str, Any]) -> None:
    """Scales and shifts of losses; vectors of one number are no single numbers."""
    params = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((2, 2), (), (1,))]
    for parameter in params:
        set_depth(parameter, 0)
        parameter.grad = torch.ones_like(parameter)
    adam = optimiser(params, fused, weight_decay=0.1, scalar_lr=10.0, **options)
    adam.set_lr(1e-3)
    assert adam.get_lr() == pytest.approx(1e-3)
    adam.step()
    torch.testing.assert_close(torch.stack([p.detach().flatten()[0] for p in params]), torch.tensor([-1e-3, -1e-2, -1e-3]))


@pytest.mark.parametrize("factor, message", [(0.0, "scalar_lr=0.0: must be above 0"), (2.0, "no parameter is a single number")])
def test_a_rate_of_single_numbers_that_cannot_be_had(factor: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        optimiser([torch.nn.Parameter(torch.zeros(4, 4))], "auto", scalar_lr=factor)
