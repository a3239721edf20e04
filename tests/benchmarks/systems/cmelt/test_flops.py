"""The operation count against PyTorch's own counter on a model that computes every product explicitly."""

from __future__ import annotations

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.naive.attention import Mode
from benchmarks.systems.cmelt.flops import forward_flops, training_flops
from benchmarks.systems.cmelt.naive import NaiveCMELT
from benchmarks.systems.cmelt.system import SYSTEM

WITHOUT_WASTE = Mode(dropout=False, full_vocabulary=False)


@pytest.mark.parametrize(("rows", "length", "groups"), [(3, 11, 1), (5, 40, 1), (3, 11, 4)])
def test_counts_are_those_of_pytorch_to_one_percent(rows: int, length: int, groups: int) -> None:
    model = SYSTEM.build_model(tiny=True, conv_pos_groups=groups)
    sample = SYSTEM.synthetic_batch(model, rows, length)
    masked = len(sample["mlm_target"])
    forward, _ = forward_flops(model.cfg, rows, length, masked)
    # The counter does not know the fused attention of a CPU.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        loss = NaiveCMELT(model, WITHOUT_WASTE).losses(sample)["loss"]
    assert counter.get_total_flops() == pytest.approx(forward, rel=0.01)
    if groups == 1:  # PyTorch counts the weight gradient of a grouped convolution as that of an ungrouped one
        with FlopCounterMode(display=False) as counter:
            loss.backward()
        backward = training_flops(model.cfg, rows, length, masked) - forward
        assert counter.get_total_flops() == pytest.approx(backward, rel=0.01)


def test_counts_at_the_sizes_of_the_paper_by_hand() -> None:
    cfg = SYSTEM.build_config()
    forward, first = forward_flops(cfg, 1, 48, 8)
    assert first == 2 * 2500 * 256 * 12 * 2
    # In billions: feature extractor 0.7, positions 2.9, 8 layers over 79 tokens 9.1, text 8.2, fusion 14.8, MEM 5.2, MLM 0.4.
    assert forward == pytest.approx(41.3e9, rel=0.01)
    assert forward_flops(cfg, 2, 48, 16)[0] == pytest.approx(2 * forward, rel=1e-3)
