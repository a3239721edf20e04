"""Every loss against its formula written as a loop: value and gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cmelt_plugin.losses import etm_loss, mem_loss, mlm_loss, pair_labels, siglep_loss


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def log_sigmoid(x: Tensor) -> Tensor:
    return -torch.log(1 + torch.exp(-x))


def assert_same(ours: Tensor, naive: Tensor, *inputs: Tensor) -> None:
    """Equal values and gradients. The losses compute in float32, whatever comes in."""
    assert ours.dtype == torch.float32 and ours.ndim == 0
    torch.testing.assert_close(ours.double(), naive, rtol=1e-5, atol=1e-6)
    gradients = zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(naive, inputs))
    for gradient, expected in gradients:
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_mlm_is_the_sum_of_minus_log_softmax() -> None:
    logits, target = random(4, 7).requires_grad_(), torch.tensor([0, 6, 3, 3])
    naive = -sum(torch.log(logits[i].exp()[word] / logits[i].exp().sum()) for i, word in enumerate(target))
    assert_same(mlm_loss(logits, target), naive, logits)


def test_mlm_without_masked_words_is_zero_and_has_a_gradient() -> None:
    logits = torch.zeros(0, 7, requires_grad=True)
    loss = mlm_loss(logits, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss == 0 and logits.grad is not None


def test_mem_is_the_mean_square_of_masked_tokens() -> None:
    prediction, target = random(2, 3, 4).requires_grad_(), random(2, 3, 4, seed=1)
    mask = torch.tensor([[True, False, True], [False, False, True]])
    naive = sum(
        sum((prediction[b, n, v] - target[b, n, v]) ** 2 for v in range(4)) / 4
        for b in range(2)
        for n in range(3)
        if mask[b, n]
    )
    assert_same(mem_loss(prediction, target, mask), naive, prediction)


def test_mem_ignores_visible_tokens() -> None:
    prediction = random(1, 2, 4).requires_grad_()
    mem_loss(prediction, random(1, 2, 4, seed=1), torch.tensor([[True, False]])).backward()
    assert prediction.grad[0, 0].abs().min() > 0
    assert torch.equal(prediction.grad[0, 1], torch.zeros(4, dtype=torch.float64))


def test_etm_is_the_binary_cross_entropy() -> None:
    logits, aligned = random(5).requires_grad_(), torch.tensor([True, False, False, True, True])
    naive = -sum(log_sigmoid(z if y else -z) for z, y in zip(logits, aligned))
    assert_same(etm_loss(logits, aligned), naive, logits)


def test_etm_survives_large_logits() -> None:
    assert etm_loss(torch.tensor([-200.0, 300.0]), torch.tensor([True, False])).item() == pytest.approx(500.0)


def test_siglep_is_equation_4_of_the_paper() -> None:
    """Scale 1, bias 0, y = −1 on the diagonal of swapped texts, identical reports negative."""
    ecg, text = random(4, 3).requires_grad_(), random(4, 3, seed=1).requires_grad_()
    aligned = [True, False, True, False]
    total = torch.zeros((), dtype=torch.float64)
    for i in range(4):
        for j in range(4):
            y = 1.0 if i == j and aligned[i] else -1.0
            total = total - log_sigmoid(y * (ecg[i] @ text[j]))
    reports = torch.tensor([0, 1, 0, 3])
    swapped = torch.tensor([0, 9, 0, 8])
    labels = pair_labels(reports, swapped, torch.arange(4), torch.tensor(aligned), "negative")
    assert_same(siglep_loss(ecg, text, labels) / 4, total / 4, ecg, text)


def test_siglep_with_learned_scale_and_bias() -> None:
    ecg, text = random(2, 3).requires_grad_(), random(5, 3, seed=1).requires_grad_()
    scale, bias = torch.tensor(2.5, requires_grad=True), torch.tensor(-1.5, requires_grad=True)
    labels = torch.tensor([[1.0, -1, -1, 0, 1], [-1, 1, 0, -1, -1]])
    total = torch.zeros((), dtype=torch.float64)
    for i in range(2):
        for j in range(5):
            if labels[i, j] != 0:
                total = total - log_sigmoid(labels[i, j].double() * (scale * (ecg[i] @ text[j]) + bias))
    assert_same(siglep_loss(ecg, text, labels, scale, bias), total, ecg, text, scale, bias)


def test_siglep_at_the_start_of_siglip() -> None:
    """Scale 10, bias −10, orthogonal unit embeddings: the bias alone decides (Zhai et al. 2023, §3.1)."""
    loss = siglep_loss(torch.eye(3), torch.eye(3)[[1, 2, 0]], 2 * torch.eye(3) - 1, 10.0, -10.0)
    positive, foreign_match, other = 10.0 + math.log1p(math.exp(-10)), math.log(2), math.log1p(math.exp(-10))
    assert loss.item() == pytest.approx(3 * positive + 3 * foreign_match + 3 * other, rel=1e-5)


def test_siglep_in_half_precision_computes_in_float32() -> None:
    ecg, text = random(3, 64).bfloat16(), random(3, 64, seed=1).bfloat16()
    labels = 2 * torch.eye(3) - 1
    torch.testing.assert_close(siglep_loss(ecg, text, labels), siglep_loss(ecg.float(), text.float(), labels))
