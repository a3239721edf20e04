"""What model cards say of MELP."""

from __future__ import annotations

from cmelt_plugin.models.files.card import SystemCard

_PAPER = "Wang, Xu, Yu: From Token to Rhythm: A Multi-Scale Approach for ECG-Language Pretraining (MELP), arXiv 2506.21803"
CARD = SystemCard(
    name="MELP",
    what="an ECG encoder aligned with reports as a whole, sentence by sentence, and word by word through a captioner",
    tags=("melp", "contrastive-learning", "report-generation"),
    settings=(
        "ecg_tower",
        "encoder_layers",
        "encoder_embed_dim",
        "encoder_attention_heads",
        "normalisation",
        "n_queries",
        "n_caption_queries",
        "embed_dim",
        "text_free_layers",
        "text_layout",
        "decoder_layers",
    ),
    paper=_PAPER,
    release=_PAPER,
    release_note="`leads_of_training` in config.json is the order of leads they were trained with; here they read ours.",
)
