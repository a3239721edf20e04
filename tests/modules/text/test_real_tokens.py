"""Linear layers over real tokens alone give what they give over all of them, gradients included."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cmelt_plugin.modules.text import real_tokens
from cmelt_plugin.modules.text.real_tokens import RealTokenLinears, RealTokens, on_real_tokens
from cmelt_plugin.modules.transformer import CrossModalLayer

DIM = 8
PADDING = torch.tensor([[False, True, False, True], [False] * 4, [False, True, True, True]])
FULL = torch.zeros_like(PADDING)


@pytest.fixture(autouse=True)
def narrow_layers_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_tokens, "LEAST_WIDTH", DIM)
    torch.manual_seed(0)


def gradients(function, *inputs: torch.Tensor) -> list[torch.Tensor]:
    """Of the sum of squares at real tokens."""
    outputs = function(*inputs)
    return list(torch.autograd.grad(outputs.masked_fill(PADDING[..., None], 0.0).square().sum(), inputs))


def test_packing_takes_real_tokens_in_order_and_unpacking_puts_them_back() -> None:
    real, x = RealTokens(PADDING), torch.randn(3, 4, DIM)
    packed = real.pack(x)
    assert torch.equal(packed, x[~PADDING]) and torch.equal(real.unpack(packed), x.masked_fill(PADDING[..., None], 0.0))


def test_gradients_of_packing_and_unpacking() -> None:
    real = RealTokens(PADDING)
    x = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(len(real.rows), 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(real.pack, x) and torch.autograd.gradcheck(real.unpack, rows)


def test_little_padding_and_none_are_left_alone() -> None:
    assert RealTokens.of(None, DIM) is None and RealTokens.of(FULL, DIM) is None
    few = torch.zeros(4, 10, dtype=torch.bool)
    few[0, 8:] = True
    assert RealTokens.of(few, DIM) is None
    few[1:3, 9] = True
    assert RealTokens.of(few, DIM).rows.tolist() == (~few).flatten().nonzero().squeeze(1).tolist()
    assert RealTokens.of(few.to("meta"), DIM) is None  # as on a GPU
    assert RealTokens.of(few, DIM - 1) is None


def test_a_function_sees_real_tokens_alone_once_for_all() -> None:
    seen = []

    def double(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return 2 * x

    x = torch.randn(3, 4, DIM)
    first, second = on_real_tokens(x, RealTokens(PADDING), double, double)
    assert torch.equal(first, 2 * x.masked_fill(PADDING[..., None], 0.0)) and torch.equal(first, second)
    assert seen[0] is seen[1] and seen[0].shape == (7, DIM)


@pytest.mark.parametrize("training", [False, True])
def test_a_cross_modal_layer_gives_the_same_at_real_tokens(training: bool) -> None:
    layer = CrossModalLayer(DIM, 2, 12, dropout=0.3).train(training)
    x, other = torch.randn(3, 4, DIM, requires_grad=True), torch.randn(3, 4, DIM, requires_grad=True)

    def forward(real: RealTokens | None):
        def run(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
            torch.manual_seed(1)  # of dropout
            return layer(x, other, PADDING, PADDING, real, real)

        return run

    packed, whole = forward(RealTokens(PADDING)), forward(None)
    torch.testing.assert_close(packed(x, other)[~PADDING], whole(x, other)[~PADDING])
    for ours, theirs in zip(gradients(packed, x, other), gradients(whole, x, other)):
        torch.testing.assert_close(ours, theirs)


class Foreign(nn.Module):
    """Layers that read one tensor, one that reads another, and one whose input is no batch of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.out, self.table = (nn.Linear(DIM, DIM) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.query(x) * self.key(x)) + self.table(torch.ones(5, DIM)).sum()


def test_linear_layers_of_a_foreign_module_compute_real_tokens_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = Foreign(), torch.randn(3, 4, DIM, requires_grad=True)
    names = list(module.state_dict())
    whole, expected = module(x), gradients(lambda *_: module(x), x, *module.parameters())
    shapes = []
    linear = nn.functional.linear
    monkeypatch.setattr(nn.functional, "linear", lambda x, *rest: shapes.append(x.shape) or linear(x, *rest))
    batch = RealTokenLinears(module, DIM)

    def run(*inputs: torch.Tensor) -> torch.Tensor:
        with batch.padded(PADDING):
            return module(x)

    out = run()
    assert shapes == [(7, DIM)] * 3 + [(5, DIM)]
    torch.testing.assert_close(out[~PADDING], whole[~PADDING])
    for ours, theirs in zip(gradients(run, x, *module.parameters()), expected):
        torch.testing.assert_close(ours, theirs)
    assert batch.real is None and list(module.state_dict()) == names
    shapes.clear()
    assert torch.equal(module(x), whole) and shapes[0] == x.shape  # without a mask all tokens


def test_two_tensors_one_after_the_other_are_packed_each(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Foreign()
    batch = RealTokenLinears(module, DIM)
    packed = []
    monkeypatch.setattr(real_tokens.RealTokens, "pack", lambda self, x: packed.append(x) or x[~PADDING])
    with batch.padded(PADDING):
        module(torch.randn(3, 4, DIM))
    assert len(packed) == 2  # query and key share theirs


def test_compiled_code_computes_all_tokens() -> None:
    layer, x = nn.Linear(DIM, DIM), torch.randn(3, 4, DIM)
    compiled = torch.compile(lambda x, real: on_real_tokens(x, real, layer)[0], backend="eager")
    torch.testing.assert_close(compiled(x, RealTokens(PADDING)), layer(x))
