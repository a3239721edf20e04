"""Operations that C-MELT's mathematics needs for a batch, counted from the sizes: the numerator of FLOPs utilisation.

Counted are the matrix products and convolutions of what our model computes: visible ECG tokens only in the encoder, the
vocabulary at masked words only, texts at their padded length or, as on a CPU, linear layers at their real tokens only. A
multiplication and an addition are two operations. Convolutions are counted as such, though a CPU computes the long one by way
of frequencies in a third of the time.
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks.harness.operations import N_LEADS, N_SAMPLES, convolutions, dense, ecg_encoder, projections, scores


def forward_flops(cfg: Any, rows: int, length: int, n_masked: int, n_real: int | None = None) -> tuple[float, float]:
    """Operations of the forward pass, and those of them whose input needs no gradient (the first convolution).

    Args:
        cfg: ``CMELTConfig`` with a T5 text encoder.
        rows: pairs.
        length: tokens of the padded texts.
        n_masked: masked words in the batch.
        n_real: real tokens of all texts where linear layers compute these alone; None: they compute padding, too.
    """
    tokens = length if n_real is None else n_real / rows
    text_sizes = json.loads(cfg.text_encoder_config)
    d, f, text_dim = cfg.fusion_dim, cfg.fusion_ffn_dim, text_sizes["d_model"]
    n_tokens, conv, first = convolutions(cfg)
    visible = 1 + max(1, int(n_tokens * (1 - cfg.mem_ratio)))

    width = cfg.encoder_embed_dim
    ecg = conv + ecg_encoder(cfg, n_tokens, visible)

    inner = text_sizes["num_heads"] * text_sizes["d_kv"]
    text_layer = (
        2 * tokens * 4 * text_dim * inner + scores(length, length, inner) + 2 * tokens * 3 * text_dim * text_sizes["d_ff"]
    )
    text = text_sizes["num_layers"] * text_layer

    fusion = 2 * tokens * text_dim * d + 2 * visible * width * d
    for own, other in ((tokens, visible), (visible, tokens)):
        fusion += cfg.fusion_layers * (projections(own, own, d) + projections(own, other, d) + dense(own, d, f))
    fusion += cfg.fusion_layers * (scores(length, length, d) + scores(visible, visible, d) + 2 * scores(length, visible, d))

    small = cfg.mem_decoder_dim
    whole = 1 + n_tokens
    samples = N_LEADS * (N_SAMPLES // n_tokens)
    mem = 2 * visible * d * small + 2 * n_tokens * small * samples
    mem += cfg.mem_decoder_layers * (
        projections(whole, whole, small) + scores(whole, whole, small) + dense(whole, small, 4 * small)
    )

    vectors = 2 * (width * d + text_dim * d + 2 * d * d) + 2 * 2 * d
    per_row = ecg + text + fusion + mem + vectors
    mlm = 2 * n_masked * (d * d + d * text_sizes["vocab_size"])
    return rows * per_row + mlm + 2 * rows * rows * d, rows * first


def training_flops(cfg: Any, rows: int, length: int, n_masked: int, n_real: int | None = None) -> float:
    """Forward and backward: each product needs two more for its gradients, the first convolution one."""
    forward, first = forward_flops(cfg, rows, length, n_masked, n_real)
    return 3 * forward - first
