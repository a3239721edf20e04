"""The operation count against PyTorch's own counter on a model that computes every product explicitly."""

from __future__ import annotations

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.systems.melp.flops import count, training_flops
from benchmarks.systems.melp.naive import Mode, NaiveMELP
from benchmarks.systems.melp.system import SYSTEM

WITHOUT_WASTE = Mode(False, False, False, False, False)


@pytest.mark.parametrize(("changes", "embeddings"), [({}, False), ({"text_free_embeddings": True}, True)])
def test_counts_are_those_of_pytorch_to_one_percent(changes: dict[str, bool], embeddings: bool) -> None:
    # PyTorch counts the weight gradient of a grouped convolution as that of an ungrouped one.
    model = SYSTEM.build_model(tiny=True, conv_pos_groups=1, **changes)
    sample = SYSTEM.synthetic_batch(model, 3, 30)
    # The counter does not know the fused attention of a CPU.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        loss = NaiveMELP(model, WITHOUT_WASTE._replace(trained_embeddings=embeddings)).losses(sample)["loss"]
    forward = count(model.cfg, 3, 30).forward
    assert counter.get_total_flops() == pytest.approx(forward, rel=0.01)
    with FlopCounterMode(display=False) as counter:
        loss.backward()
    assert counter.get_total_flops() == pytest.approx(training_flops(model.cfg, 3, 30) - forward, rel=0.01)


def test_counts_at_the_sizes_of_the_paper_by_hand() -> None:
    cfg = SYSTEM.build_config()
    forward, spared = count(cfg, 1, 48)
    # In billions: convolutions and positions 3.6, 8 layers over 312 tokens 37.7, poolers 1.2, text 8.5, captioner 8.6,
    # words 2.2.
    assert forward == pytest.approx(61.4e9, rel=0.02)
    # Frozen layers 8.5 in the backward pass, what would lead into them 0.2.
    assert spared == pytest.approx(8.7e9, rel=0.02)
    # Eight texts of which a third is padding.
    whole, real = training_flops(cfg, 8, 48), training_flops(cfg, 8, 48, 8 * 32)
    assert real / whole == pytest.approx(0.9, abs=0.02)
