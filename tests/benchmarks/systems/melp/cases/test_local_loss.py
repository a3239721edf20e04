"""What is timed is one loss, and a wrong one would be noticed."""

from __future__ import annotations

import pytest
import torch

from benchmarks.systems.melp.cases import local_loss
from benchmarks.systems.melp.cases.local_loss import check, draw_vectors


def test_both_ways_are_one_loss_with_attention_that_is_neither_flat_nor_on_one_place() -> None:
    vectors = draw_vectors(5)
    assert check(vectors) > 0 and vectors.beats.grad is None
    products = torch.einsum("bqe,bse->bqs", vectors.beats, vectors.sentences).detach()
    assert 0.5 < float(products.std()) < 5


def test_another_loss_or_gradient_is_noticed(monkeypatch) -> None:
    correct = local_loss.gloria_similarity
    for wrong in (lambda *inputs: 1.01 * correct(*inputs), lambda *inputs: correct(inputs[0].detach(), *inputs[1:])):
        monkeypatch.setattr(local_loss, "gloria_similarity", wrong)
        with pytest.raises((AssertionError, RuntimeError)):
            check(draw_vectors(5))
