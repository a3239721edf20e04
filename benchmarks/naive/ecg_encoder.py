"""The ECG encoder: convolutions and positions for all tokens, transformer layers for the kept ones, as in the release."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.naive.attention import Mode, Weights, transformer_layer


class Encoded(NamedTuple):
    """Visible states.

    Attributes:
        states: ``[B, 1 + K, D]``, CLS first, visible tokens by rising noise.
        restore: ``[B, N]``, where each token stands in the order of its record's noise.
        dropped: ``[B, N]`` bool, True = to be reconstructed.
    """

    states: Tensor
    restore: Tensor
    dropped: Tensor


def convolutions(weights: Weights, ecg: Tensor, layers: list[tuple[int, int, int]]) -> Tensor:
    """The feature extractor: ``ecg [B, leads, T]`` → ``[B, C, N]``."""
    x = ecg
    for number, (channels, _, stride) in enumerate(layers):
        x = F.conv1d(x, weights[f"conv_layers.{number}.0.weight"], stride=stride)
        if number == 0:  # one group per channel, in float32
            norm = weights.below("conv_layers.0.2")
            x = F.group_norm(x.float(), channels, norm["weight"].float(), norm["bias"].float()).type_as(x)
        x = F.gelu(x)
    return x


def positions(weights: Weights, x: Tensor, kernel: int, groups: int) -> Tensor:
    """Convolutional position embedding of ``x [B, N, D]``; its kernel has a learned norm per time step."""
    norm, direction = weights["parametrizations.weight.original0"], weights["parametrizations.weight.original1"]
    kernel_weights = direction * (norm / direction.norm(dim=(0, 1), keepdim=True))
    out = F.conv1d(x.transpose(1, 2), kernel_weights, weights["bias"], padding=kernel // 2, groups=groups)
    return F.gelu(out[..., : x.shape[1]]).transpose(1, 2)


def embed_ecg(
    weights: Weights, cfg: Any, layers: list[tuple[int, int, int]], ecg: Tensor, dropout: float, gradient: float = 1.0
) -> Tensor:
    """Tokens with their positions: ``ecg [B, leads, T]`` mV → ``[B, N, D]``.

    Args:
        weights: of the encoder.
        cfg: the model's configuration.
        layers: parsed ``conv_feature_layers``.
        ecg: see above.
        dropout: of the tokens.
        gradient: factor on the gradient that reaches the convolutions.
    """
    x = convolutions(weights.below("feature_extractor"), ecg, layers)
    if gradient != 1.0 and x.requires_grad:
        x.register_hook(lambda gradients: gradients * gradient)
    x = F.dropout(weights.linear("post_extract_proj", weights.layer_norm("layer_norm", x.transpose(1, 2))), dropout)
    return x + positions(weights.below("conv_pos.pos_conv.0"), x, cfg.conv_pos, cfg.conv_pos_groups)


def run_layers(weights: Weights, cfg: Any, x: Tensor, dropout: float, attention_dropout: float) -> Tensor:
    """LayerNorm and the transformer layers, with PyTorch's fused attention: ``[B, N, D]`` → ``[B, N, D]``."""
    x = F.dropout(weights.layer_norm("layer_norm", x), dropout)
    for number in range(cfg.encoder_layers):
        layer = weights.below(f"layers.{number}")
        x = transformer_layer(layer, x, None, cfg.encoder_attention_heads, dropout, attention_dropout, eager=False)
    return x


def encode_ecg(
    weights: Weights, cfg: Any, layers: list[tuple[int, int, int]], ecg: Tensor, noise: Tensor, mode: Mode
) -> Encoded:
    """``ecg [B, leads, T]`` mV, ``noise [B, N]`` → :class:`Encoded`.

    Args:
        weights: of the encoder.
        cfg: the model's configuration.
        layers: parsed ``conv_feature_layers``.
        ecg, noise: see above; the tokens of smallest noise are visible.
        mode: see :class:`Mode`.
    """
    dropout = cfg.dropout if mode.dropout else 0.0
    attention_dropout = cfg.attention_dropout if mode.dropout else 0.0
    x = embed_ecg(weights, cfg, layers, ecg, dropout)
    n_keep = max(1, int(x.shape[1] * (1 - cfg.mem_ratio)))
    order = noise.argsort(dim=1, stable=True)
    restore = order.argsort(dim=1)
    x = x.gather(1, order[:, :n_keep, None].expand(-1, -1, x.shape[2]))
    x = torch.cat([weights["class_embedding"].to(x.dtype).expand(len(x), 1, -1), x], dim=1)
    x = run_layers(weights.below("encoder"), cfg, x, dropout, attention_dropout)
    return Encoded(x, restore, restore >= n_keep)
