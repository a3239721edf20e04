"""The fusion module: order of computation, what the MEM head reads, padding."""

from __future__ import annotations

import pytest
import torch

from cmelt_plugin.models.cmelt.fusion import ECG, TEXT, Fusion
from tests.modules.padding import assert_padding_is_not_read

TEXT_PADDING = torch.tensor([[False] * 4, [False, False, True, True]])
ECG_PADDING = torch.tensor([[False, False, False, True, True], [False] * 5])


@pytest.fixture
def fusion() -> Fusion:
    torch.manual_seed(0)
    module = Fusion(ecg_dim=6, text_dim=10, dim=8, layers=3, heads=2, ffn_dim=16, mem_layer=1)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return module.eval()


@pytest.fixture
def states():
    torch.manual_seed(1)
    return torch.randn(2, 4, 10), torch.randn(2, 5, 6)


def test_both_sides_read_the_others_previous_layer(fusion: Fusion, states) -> None:
    text, ecg = states
    x_text = text @ fusion.text_proj.weight.T + fusion.text_proj.bias + fusion.modality_type.weight[TEXT]
    x_ecg = ecg @ fusion.ecg_proj.weight.T + fusion.ecg_proj.bias + fusion.modality_type.weight[ECG]
    before = []
    for text_layer, ecg_layer in zip(fusion.text_layers, fusion.ecg_layers):
        before.append(x_ecg)
        old_text, old_ecg = x_text, x_ecg
        x_text = text_layer(old_text, old_ecg, TEXT_PADDING, ECG_PADDING)
        x_ecg = ecg_layer(old_ecg, old_text, ECG_PADDING, TEXT_PADDING)
    fused = fusion(text, ecg, TEXT_PADDING, ECG_PADDING)
    torch.testing.assert_close(fused.text, x_text)
    torch.testing.assert_close(fused.ecg, x_ecg)
    for layer, expected in enumerate(before):
        fusion.mem_layer = layer
        torch.testing.assert_close(fusion(text, ecg, TEXT_PADDING, ECG_PADDING).ecg_for_mem, expected)
    fusion.mem_layer = -1
    torch.testing.assert_close(fusion(text, ecg, TEXT_PADDING, ECG_PADDING).ecg_for_mem, x_ecg)


@pytest.mark.parametrize("output", ["text", "ecg", "ecg_for_mem"])
def test_padding_is_not_read(fusion: Fusion, states, output: str) -> None:
    text, ecg = states

    def real(out, padding):  # padding compared on the other side's output would be noise
        return out.masked_fill(padding.unsqueeze(-1), 0.0)

    own_padding = TEXT_PADDING if output == "text" else ECG_PADDING
    fusion.mem_layer = 2

    def of_text(x):
        return real(getattr(fusion(x, ecg, TEXT_PADDING, ECG_PADDING), output), own_padding)

    def of_ecg(x):
        return real(getattr(fusion(text, x, TEXT_PADDING, ECG_PADDING), output), own_padding)

    assert_padding_is_not_read(of_text, text, TEXT_PADDING)
    assert_padding_is_not_read(of_ecg, ecg, ECG_PADDING)


@pytest.mark.parametrize("layer", [-2, 3])
def test_mem_layer_must_exist(layer: int) -> None:
    with pytest.raises(ValueError, match="mem_layer"):
        Fusion(dim=8, layers=3, heads=2, ffn_dim=16, mem_layer=layer)
