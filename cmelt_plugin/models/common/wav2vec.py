"""The wav2vec-style ECG encoder from the settings that every system gives the same names."""

from __future__ import annotations

from typing import Any

from cmelt_plugin.errors import DataError
from cmelt_plugin.modules.ecg.amplitude import WINDOW
from cmelt_plugin.modules.ecg.conv_layers import parse_conv_layers
from cmelt_plugin.modules.ecg.ecg_encoder import ECGEncoder
from cmelt_plugin.modules.ecg.feature_extractor import DEFAULT, EXTRACTOR_MODES, ConvStack
from cmelt_plugin.modules.ecg.normalisation import CENTRED, MIN_MAX, NONE


def wav2vec_encoder(cfg: Any, conv_stack: Any, n_leads: int, step: int = 1, **options: Any) -> ECGEncoder:
    """The encoder with random weights.

    Args:
        cfg: of a system or a classifier: ``conv_…``, ``encoder_…``, ``dropout``, ``attention_dropout``, ``feature_grad_mult``,
            those of :class:`cmelt_plugin.models.common.wav2vec_options.Wav2VecOptions` and, where there are any,
            ``checkpoint_activations`` and ``normalisation``.
        conv_stack: makes the stack of convolutions of the default mode. In the others it is our own whatever the host: theirs
            read one channel, or (fairseq-signals) cannot be built.
        n_leads: rows of an ECG.
        step: samples at 500 Hz of one that the encoder reads.
        options: further arguments of :class:`ECGEncoder`.

    Raises:
        DataError: there is no such mode, or amplitudes are asked for that the normalisation has removed.
    """
    mode, amplitudes = cfg.extractor_mode, cfg.amplitude_embedding
    if mode not in EXTRACTOR_MODES:
        raise DataError(f"model.extractor_mode must be one of {', '.join(EXTRACTOR_MODES)}, not {mode!r}")
    if amplitudes and getattr(cfg, "normalisation", None) == MIN_MAX:
        raise DataError(
            f"model.normalisation={MIN_MAX} removes the amplitudes: set it to {NONE} or {CENTRED} for model.amplitude_embedding"
        )
    conv_layers = parse_conv_layers(cfg.conv_feature_layers)
    return ECGEncoder(
        conv_stack(conv_layers, n_leads) if mode == DEFAULT else ConvStack(conv_layers, n_leads, mode),
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
        amplitude_window=WINDOW // step if amplitudes else 0,
        **options,
    )
