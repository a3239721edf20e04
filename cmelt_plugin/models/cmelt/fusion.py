"""The fusion module: each modality informs the other through cross-attention (paper §3.1, Figure 1)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from cmelt_plugin.modules.text.real_tokens import RealTokens, on_real_tokens
from cmelt_plugin.modules.transformer import CrossModalLayer, init_bert_weights, run_layer

TEXT, ECG = 0, 1  # rows of the modality-type embedding


class Fused(NamedTuple):
    """Fused token states.

    Attributes:
        text: ``[B, L, D]``.
        ecg: ``[B, K, D]``.
        ecg_for_mem: ``[B, K, D]``, the ECG stream the MEM head reads.
    """

    text: Tensor
    ecg: Tensor
    ecg_for_mem: Tensor


class Fusion(nn.Module):
    """Projection and modality-type embedding per modality, then ``layers`` cross-modal layers a side.

    Args:
        ecg_dim, text_dim: widths of the two encoders.
        dim, layers, heads, ffn_dim: sizes of the fusion layers.
        mem_layer: the MEM head reads the ECG stream before this layer (0-based); -1: after the last one.
        recompute: keep no activations inside the layers (:func:`cmelt_plugin.modules.transformer.run_layer`).
    """

    def __init__(
        self,
        ecg_dim: int = 768,
        text_dim: int = 768,
        dim: int = 768,
        layers: int = 6,
        heads: int = 12,
        ffn_dim: int = 3072,
        dropout: float = 0.1,
        mem_layer: int = 3,
        recompute: bool = False,
    ):
        super().__init__()
        if not -1 <= mem_layer < layers:
            raise ValueError(f"mem_layer must be -1 or one of the {layers} fusion layers (0-based), not {mem_layer}")
        self.mem_layer = mem_layer
        self.recompute = recompute
        self.text_proj = nn.Linear(text_dim, dim)
        self.ecg_proj = nn.Linear(ecg_dim, dim)
        self.modality_type = nn.Embedding(2, dim)
        self.text_layers = nn.ModuleList(CrossModalLayer(dim, heads, ffn_dim, dropout, dropout) for _ in range(layers))
        self.ecg_layers = nn.ModuleList(CrossModalLayer(dim, heads, ffn_dim, dropout, dropout) for _ in range(layers))
        self.apply(init_bert_weights)

    def forward(
        self,
        text: Tensor,
        ecg: Tensor,
        text_padding_mask: Tensor | None = None,
        ecg_padding_mask: Tensor | None = None,
    ) -> Fused:
        """``text [B, L, Dt]``, ``ecg [B, K, De]``, masks True = padding → :class:`Fused`, at padding of no meaning."""
        real = RealTokens.of(text_padding_mask, self.text_proj.out_features)
        text = on_real_tokens(text, real, self.text_proj)[0] + self.modality_type.weight[TEXT]
        ecg = self.ecg_proj(ecg) + self.modality_type.weight[ECG]
        ecg_for_mem = ecg
        for index, (text_layer, ecg_layer) in enumerate(zip(self.text_layers, self.ecg_layers)):
            if index == self.mem_layer:
                ecg_for_mem = ecg
            text, ecg = (
                run_layer(text_layer, text, ecg, text_padding_mask, ecg_padding_mask, real, None, recompute=self.recompute),
                run_layer(ecg_layer, ecg, text, ecg_padding_mask, text_padding_mask, None, real, recompute=self.recompute),
            )
        return Fused(text, ecg, ecg if self.mem_layer == -1 else ecg_for_mem)
