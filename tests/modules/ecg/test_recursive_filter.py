"""Recursive filters in blocks: what SciPy computes sample by sample."""

from __future__ import annotations

import pytest
import torch
from scipy.signal import butter, sosfilt

from cmelt_plugin.modules.ecg.recursive_filter import BLOCK, RecursiveFilter

SLOW = butter(4, [0.5, 40], "bandpass", fs=500, output="sos")  # with poles 0.3 % from 1
FAST = butter(3, 30, "lowpass", fs=500, output="sos")


@pytest.mark.parametrize("sections", [SLOW, FAST], ids=["slow", "fast"])
@pytest.mark.parametrize("length", [1, BLOCK - 1, BLOCK, BLOCK + 1, 5054])
def test_it_is_what_scipy_computes(sections, length: int) -> None:
    x = torch.randn(3, length, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 2
    expected = torch.from_numpy(sosfilt(sections, x.numpy()))
    torch.testing.assert_close(RecursiveFilter(sections)(x), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(RecursiveFilter(sections)(x.float()).double(), expected, rtol=0, atol=2e-5)


def test_matrices_are_made_once_for_each_number_of_blocks(monkeypatch) -> None:
    made: list[int] = []
    computed = RecursiveFilter._computed
    monkeypatch.setattr(RecursiveFilter, "_computed", lambda self, blocks: (made.append(blocks), computed(self, blocks))[1])
    recursive = RecursiveFilter(FAST)
    for length in (BLOCK, 2 * BLOCK, BLOCK - 3, 2 * BLOCK - 1):
        recursive(torch.ones(2, length))
    assert made == [1, 2]
