"""The inclusion loss: its integral by quadrature, and which of two Gaussians it finds inside the other."""

import math

import pytest
import torch
from torch.nn import functional as F

from cmelt_plugin.losses.pcmepp import sampled_distance
from cmelt_plugin.losses.prolip import inclusion, inclusion_loss, inclusion_losses


def density(x, mean, variance):
    return torch.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


@pytest.mark.parametrize(
    ("mean_a", "variance_a", "mean_b", "variance_b"), [(0.3, 0.2, -0.5, 1.5), (1, 0.05, 1, 0.4), (0, 2, 1, 0.1)]
)
def test_inclusion_is_the_integral(mean_a, variance_a, mean_b, variance_b) -> None:
    x = torch.linspace(-30, 30, 2_000_001, dtype=torch.float64)
    whole = torch.trapezoid(density(x, mean_a, variance_a) ** 2 * density(x, mean_b, variance_b), x).log().item()
    values = [
        torch.tensor([[value]], dtype=torch.float64) for value in (mean_a, math.log(variance_a), mean_b, math.log(variance_b))
    ]
    # The constant: 1 / (2 π)^1.5 of three densities, and √π of the Gaussian integral.
    assert inclusion(*values).item() == pytest.approx(whole + 1.5 * math.log(2 * math.pi) - 0.5 * math.log(math.pi), abs=1e-6)


def test_the_narrow_one_lies_in_the_wide_one() -> None:
    mean = torch.zeros(4, 3)
    narrow, wide = torch.full_like(mean, -3.0), torch.full_like(mean, 0.0)
    assert inclusion_loss(mean, narrow, mean + 0.1, wide) < 0.01 < 5 < inclusion_loss(mean, wide, mean + 0.1, narrow)
    same = inclusion_loss(mean, narrow, mean, narrow)
    assert same.item() == pytest.approx(math.log(2))
    each = inclusion_losses(mean, narrow, mean + 0.1, torch.cat([wide[:2], narrow[2:]]))
    assert each[0] == each[1] < 0.01 and each[2:].tolist() == pytest.approx([math.log(2)] * 2)
    log_variance = wide.clone().requires_grad_()
    inclusion_loss(mean, narrow, mean, log_variance - 2).backward()
    assert (log_variance.grad < 0).all()  # the outer one widens


def test_logits_of_prolip_are_those_of_pcmepp_in_other_letters() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (F.normalize(torch.randn(5, 7, generator=generator), dim=1) for _ in range(2))
    va, vb = (torch.randn(5, 7, generator=generator) - 3 for _ in range(2))
    scale, bias = 4.0, -1.5
    spread = va.exp().sum(1)[:, None] + vb.exp().sum(1)
    expected = scale * (a @ b.T - spread / 2) + bias
    torch.testing.assert_close((scale + bias) - scale / 2 * sampled_distance(a, va, b, vb), expected, rtol=1e-4, atol=1e-5)
