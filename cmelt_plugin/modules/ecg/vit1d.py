"""Vision transformer over time (Dosovitskiy et al. 2021), as MERL uses it (Liu et al. 2024): a patch is 0.1 s of all leads."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cmelt_plugin.modules.ecg.length_batch_norm import zero_padding
from cmelt_plugin.modules.pooling.tokens import masked_mean
from cmelt_plugin.modules.transformer import EncoderLayer, run_layer


class ViTSize(NamedTuple):
    """Width of tokens, transformer layers, attention heads."""

    width: int
    layers: int
    heads: int


VIT_SIZES = {
    "tiny": ViTSize(192, 12, 3),
    "small": ViTSize(384, 12, 6),
    "middle": ViTSize(512, 12, 8),
    "base": ViTSize(768, 12, 12),
}


class ViT1d(nn.Module):
    """``[B, leads, T]`` → ``[B, width]``: patches with learned positions, pre-norm layers, mean over patches, LayerNorm.

    A record has the patches it would have were it cut to its real samples, at least one: padded = cropped, and of a short
    record up to 49 samples at its end, which do not fill a patch, are not read (of one shorter than a patch all are, with zeros
    behind them).

    Args:
        n_leads: channels of the signal.
        width, layers, heads: sizes; the feed-forward width is four times the first.
        patch: samples of a patch, each read once.
        n_patches: learned positions; longer signals are refused.
        dropout, attention_dropout: inside the layers (0 in MERL).
        recompute: keep no activations inside layers (:func:`cmelt_plugin.modules.transformer.run_layer`).
    """

    def __init__(
        self,
        n_leads: int = 12,
        width: int = 192,
        layers: int = 12,
        heads: int = 3,
        patch: int = 50,
        n_patches: int = 100,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        recompute: bool = False,
    ):
        super().__init__()
        self.recompute = recompute
        self.dim, self.patch = width, patch
        self.patch_embedding = nn.Conv1d(n_leads, width, patch, stride=patch, bias=False)
        self.positions = nn.Parameter(torch.empty(n_patches, width).normal_(std=0.02))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(width, heads, 4 * width, dropout, attention_dropout, norm_first=True) for _ in range(layers)
        )
        self.layer_norm = nn.LayerNorm(width)

    def n_tokens(self, n_samples: int) -> int:
        """Patches of ``n_samples`` samples."""
        return n_samples // self.patch

    def tokens(self, ecg: Tensor, n_samples: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """``ecg [B, leads, T]`` → states after the last layer ``[B, N, width]``, and which are padding ``[B, N]`` or None.

        Raises:
            TypeError: the signal holds integers.
            ValueError: it is shorter than a patch or has more patches than there are positions.
        """
        if not ecg.is_floating_point():
            raise TypeError(f"an ECG in mV must be of floating-point numbers, not {ecg.dtype}")
        n_tokens, most = self.n_tokens(ecg.shape[-1]), len(self.positions)
        if not 1 <= n_tokens <= most:
            raise ValueError(f"{ecg.shape[-1]} samples; {self.patch} to {self.patch * (most + 1) - 1} can be read")
        ecg = zero_padding(ecg.to(self.patch_embedding.weight.dtype), n_samples)  # infinities would pass any mask
        x = self.patch_embedding(ecg).transpose(1, 2)
        padding = None
        if n_samples is not None:
            n_real = torch.div(n_samples, self.patch, rounding_mode="floor").clamp(min=1)
            padding = torch.arange(n_tokens, device=ecg.device) >= n_real[:, None]
        x = self.dropout(x + self.positions[:n_tokens])
        for layer in self.layers:
            x = run_layer(layer, x, padding, recompute=self.recompute)
        return x, padding

    def forward(self, ecg: Tensor, n_samples: Tensor | None = None) -> Tensor:
        """``ecg [B, leads, T]``; ``n_samples [B]`` real samples, None: all → ``[B, width]``. Raises like :meth:`tokens`."""
        return self.read(ecg, n_samples)[0]

    def read(self, ecg: Tensor, n_samples: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """:meth:`forward`, and the :meth:`tokens` it is the mean of."""
        states, padding = self.tokens(ecg, n_samples)
        return self.layer_norm(masked_mean(states, padding)), states, padding
