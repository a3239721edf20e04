"""The wav2vec-style ECG encoder from the settings that every system gives the same names."""

from __future__ import annotations

from typing import Any

from cmelt_plugin.modules.ecg.conv_layers import parse_conv_layers
from cmelt_plugin.modules.ecg.ecg_encoder import ECGEncoder


def wav2vec_encoder(cfg: Any, conv_stack: Any, n_leads: int, **options: Any) -> ECGEncoder:
    """The encoder with random weights.

    Args:
        cfg: of a system or a classifier: ``conv_…``, ``encoder_…``, ``dropout``, ``attention_dropout``, ``feature_grad_mult``
            and, where there is one, ``checkpoint_activations``.
        conv_stack: makes the stack of convolutions.
        n_leads: rows of an ECG.
        options: further arguments of :class:`ECGEncoder`.
    """
    conv_layers = parse_conv_layers(cfg.conv_feature_layers)
    return ECGEncoder(
        conv_stack(conv_layers, n_leads),
        conv_layers,
        dim=cfg.encoder_embed_dim,
        layers=cfg.encoder_layers,
        heads=cfg.encoder_attention_heads,
        ffn_dim=cfg.encoder_ffn_embed_dim,
        dropout=cfg.dropout,
        attention_dropout=cfg.attention_dropout,
        conv_pos=cfg.conv_pos,
        conv_pos_groups=cfg.conv_pos_groups,
        feature_grad_mult=cfg.feature_grad_mult,
        recompute=getattr(cfg, "checkpoint_activations", False),
        **options,
    )
