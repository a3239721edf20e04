"""Operations of the parts that models of several systems have; a multiplication and an addition are two."""

from __future__ import annotations

from typing import Any

from cmelt_plugin.modules.ecg.conv_layers import parse_conv_layers

N_LEADS, N_SAMPLES = 12, 5000


def convolutions(cfg: Any) -> tuple[int, float, float]:
    """Tokens of a record, operations of the feature extractor, and of its first layer."""
    length, channels, counts = N_SAMPLES, N_LEADS, []
    for out, kernel, stride in parse_conv_layers(cfg.conv_feature_layers):
        length = (length - kernel) // stride + 1
        counts.append(2.0 * length * out * channels * kernel)
        channels = out
    return length, sum(counts), counts[0]


def ecg_encoder(cfg: Any, n_tokens: int, visible: int) -> float:
    """Of the wav2vec-style encoder behind its convolutions: positions of all tokens, layers over the ``visible`` ones."""
    width, channels = cfg.encoder_embed_dim, parse_conv_layers(cfg.conv_feature_layers)[-1][0]
    embedding = 2.0 * n_tokens * channels * width + 2 * n_tokens * width * (width // cfg.conv_pos_groups) * cfg.conv_pos
    layer = projections(visible, visible, width) + scores(visible, visible, width)
    return embedding + cfg.encoder_layers * (layer + dense(visible, width, cfg.encoder_ffn_embed_dim))


def projections(own: float, other: float, width: int) -> float:
    """Of an attention of ``own`` tokens over ``other`` ones: queries and outputs, keys and values."""
    return 2 * width * width * (2 * own + 2 * other)


def scores(own: float, other: float, width: int) -> float:
    """Scores and weighted sum of an attention."""
    return 4 * own * other * width


def dense(length: float, width: int, inner: int) -> float:
    """Of a feed-forward network."""
    return 2 * length * 2 * width * inner
