"""What model cards say of EchoingECG."""

from __future__ import annotations

from cmelt_plugin.models.files.card import SystemCard

_PAPER = (
    "Gao, Kim, McIntosh: EchoingECG: An Electrocardiogram Cross-Modal Model for Echocardiogram Tasks, MICCAI 2025, "
    "arXiv 2509.25791 (an independent implementation, with the losses of "
    "Chun: Improved Probabilistic Image-Text Representations (PCME++), ICLR 2024)"
)
CARD = SystemCard(
    name="EchoingECG-style",
    what="an ECG encoder whose embeddings are Gaussians, matched with reports and with a frozen teacher of echocardiograms",
    tags=("echoing-ecg", "probabilistic-embeddings", "echocardiography"),
    settings=(
        "ecg_encoder",
        "ecg_width",
        "ecg_blocks",
        "normalisation",
        "embed_dim",
        "matching",
        "score",
        "text_free_layers",
    ),
    paper=_PAPER,
    release=_PAPER,
    release_note="The weights are their authors', under CC BY-NC-ND 4.0: they may not be passed on, nor may this folder.",
)
