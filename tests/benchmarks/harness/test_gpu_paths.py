"""What is kept within ``gpu_paths`` is what fused kernels keep, and the results are those of a CPU."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from benchmarks.cases.activation_memory import kept_bytes
from benchmarks.harness import training
from benchmarks.harness.gpu_paths import gpu_paths
from benchmarks.systems import find, known


def kept(losses, *inputs: torch.Tensor) -> int:
    return kept_bytes(lambda sample: {"loss": losses(*sample).sum()}, inputs, iter([]), "cpu", False)


def test_attention_keeps_no_matrix_and_dropout_a_byte_a_number() -> None:
    query, key, value = (torch.randn(2, 3, n, 4, requires_grad=True) for n in (5, 7, 7))
    mask = torch.zeros(2, 1, 1, 7)

    def attend(*inputs: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(*inputs, attn_mask=mask, dropout_p=0.5)

    matrix, whole = 4 * 2 * 3 * 5 * 7, 4 * (2 * 3 * 4 * (5 + 7 + 7 + 5) + 2 * 7)
    outside = kept(attend, query, key, value)
    with gpu_paths():
        assert kept(attend, query, key, value) == whole + 4 * 2 * 3 * 5
        assert kept(lambda x: F.dropout(x, 0.5), query) == query.numel()
        assert torch.equal(F.dropout(query, 0.5, training=False), query)
    assert outside > 2 * matrix and kept(lambda x: F.dropout(x, 0.5), query) == 4 * query.numel()


@pytest.mark.parametrize("name", known())
def test_losses_are_the_same_without_dropout(name: str) -> None:
    system = find(name)
    model, criterion = system.build_model(tiny=True).eval(), system.build_criterion()
    sample = system.synthetic_batch(model, 3, 20)
    with torch.no_grad():
        expected = training.our_losses(model, criterion, sample)
        with gpu_paths():
            found = training.our_losses(model, criterion, sample)
    for loss, value in expected.items():
        assert float(found[loss]) == pytest.approx(float(value), abs=1e-5), loss
