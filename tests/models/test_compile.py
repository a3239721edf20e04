"""``model.compile``: in training alone, under the same names, and given up where there is no compiler.

That it gives the same losses and gradients is asked of every system in ``tests/systems``.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from compiled import traced_graphs

from cmelt_plugin.modules import compiling
from cmelt_plugin.modules.compiling import repeated_layers
from tests.models.cmelt.batches import dataset, without_dropout
from tests.models.cmelt.rank_work import filled, train_step


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> dict[str, Any]:
    return dataset(tmp_path_factory.mktemp("manifest"), short_row=2).collater([0, 1, 2, 3])


@pytest.fixture
def graphs() -> Iterator[list[Any]]:
    with traced_graphs() as traced:
        yield traced


def test_deeper_stacks_are_no_more_code(sample, graphs) -> None:
    depths = ("encoder_layers", "fusion_layers", "mem_decoder_layers")

    def operations(depth: int) -> int:
        torch._dynamo.reset()
        graphs.clear()
        train_step(sample, {**without_dropout(), "compile": True, **dict.fromkeys(depths, depth)}, {})
        return sum(len(graph.graph.nodes) for graph in graphs)

    assert (operations(4) == operations(2)) == compiling.LAYERS_SHARE_CODE


def test_layers_are_the_items_of_the_outermost_lists_of_one_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "LAYERS_SHARE_CODE", True)

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])

    class Stack(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mixed = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.GELU()])
            self.inner = torch.nn.ModuleDict({"blocks": torch.nn.ModuleList([Block(), Block()])})

    stack = Stack()
    assert list(repeated_layers(stack)) == list(stack.inner["blocks"])
    assert list(repeated_layers(stack.mixed)) == [stack.mixed]
    monkeypatch.setattr(compiling, "LAYERS_SHARE_CODE", False)
    assert list(repeated_layers(stack)) == [stack]


def test_names_of_weights_are_the_same(graphs) -> None:
    assert list(filled(compile=True).state_dict()) == list(filled().state_dict())
    assert [name for name, _ in filled(compile=True).named_modules()] == [name for name, _ in filled().named_modules()]


def test_evaluation_is_not_compiled(sample, graphs) -> None:
    model = filled(compile=True).eval()
    model(**sample["net_input"])
    with torch.no_grad():
        model.train()(**sample["net_input"])
    assert not graphs


def test_a_copy_runs_its_own_weights(sample, graphs) -> None:
    model = filled(**without_dropout(), compile=True).train()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.fusion.parameters():
            parameter.mul_(0.5)
    first, second = (m(**sample["net_input"])["etm_logits"] for m in (model, twin))
    assert not torch.allclose(first, second, atol=1e-3)


def test_a_pytorch_that_cannot_compile_trains_without(sample, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    def unavailable(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Dynamo is not supported on Python 3.12+")

    monkeypatch.setattr(torch, "compile", unavailable)
    with caplog.at_level(logging.WARNING):
        got = train_step(sample, {**without_dropout(), "compile": True}, {})
    assert "Dynamo is not supported" in caplog.text and "goes on without" in caplog.text
    assert torch.equal(got["loss"], train_step(sample, without_dropout(), {})["loss"])


def test_a_failing_compiler_is_given_up(sample, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    def failing(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no C++ compiler")

    torch._dynamo.reset()
    monkeypatch.setattr(compiling, "BACKEND", failing)
    with caplog.at_level(logging.WARNING):
        got = train_step(sample, {**without_dropout(), "compile": True}, {})
    assert "no C++ compiler" in caplog.text
    torch.testing.assert_close(got["loss"], train_step(sample, without_dropout(), {})["loss"])
    torch._dynamo.reset()
