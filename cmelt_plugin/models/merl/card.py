"""What model cards say of MERL."""

from __future__ import annotations

from cmelt_plugin.models.files.card import SystemCard

_PAPER = (
    "Liu, Wan, Ouyang, Shah, Bai, Arcucci: Zero-Shot ECG Classification with Multimodal Learning and Test-time Clinical "
    "Knowledge Enhancement (MERL), ICML 2024"
)
CARD = SystemCard(
    name="MERL",
    what="an ECG encoder aligned with the reports of its recordings, which a language model reads",
    tags=("merl", "contrastive-learning"),
    settings=(
        "ecg_encoder",
        "ecg_width",
        "ecg_layers",
        "ecg_heads",
        "normalisation",
        "embed_dim",
        "text_pool",
        "text_free_layers",
        "learn_logit_scale",
    ),
    paper=_PAPER,
    release=_PAPER,
    release_note="`leads_of_training` in config.json is the order of leads they were trained with; here they read ours.",
)
