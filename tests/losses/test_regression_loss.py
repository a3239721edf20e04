"""Huber's loss over records with and without a known value."""

import pytest
import torch

from cmelt_plugin.losses.regression import huber_loss


def test_quadratic_near_the_value_and_linear_beyond() -> None:
    values = torch.tensor([[0.5], [3.0], [-2.0], [7.0]])
    target = torch.tensor([[0.0], [0.0], [-2.0], [float("nan")]])
    loss = huber_loss(values, target, delta=2.0)
    assert loss.total.item() == pytest.approx(0.125 + 2 * (3 - 1) + 0)
    assert loss.records == 3


def test_unknown_values_get_no_gradient() -> None:
    values = torch.ones(3, 2, requires_grad=True)
    target = torch.tensor([[0.0, float("nan")], [float("nan")] * 2, [0.0, 0.5]])
    loss = huber_loss(values, target)
    loss.total.backward()
    assert loss.records == 2 and loss.total.item() == pytest.approx(0.5 + (0.5 + 0.125) / 2)
    assert values.grad.tolist() == [[1.0, 0.0], [0.0, 0.0], [0.5, 0.25]]
