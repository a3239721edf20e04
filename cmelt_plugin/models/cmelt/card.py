"""What model cards say of C-MELT."""

from __future__ import annotations

from cmelt_plugin.models.files.card import SystemCard

CARD = SystemCard(
    name="C-MELT",
    what="an ECG encoder and a text encoder in one space, pre-trained on recordings and their reports",
    tags=("c-melt", "contrastive-learning"),
    settings=(
        "conv_feature_layers",
        "encoder_layers",
        "encoder_embed_dim",
        "encoder_attention_heads",
        "fusion_layers",
        "fusion_dim",
        "text_pool",
        "normalise_embeddings",
        "learn_logit_scale",
        "score",
    ),
    paper="Pham, Saeed, Ma: C-MELT: Contrastive Enhanced Masked Auto-Encoders for ECG-Language Pre-Training",
    release="Pham, Saeed, Ma: Boosting Masked ECG-Text Auto-Encoders as Discriminative Learners (D-BETA), arXiv 2410.02131",
    release_note="The authors' code takes channels by position, and MIMIC-IV-ECG stores aVF before aVL: `leads_of_training` in "
    "config.json is the order these weights were taken to expect.",
)
