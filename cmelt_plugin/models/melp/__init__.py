"""MELP: ECG and report aligned as wholes, by sentences and by words (Wang, Xu, Yu 2025, arXiv 2506.21803)."""

from cmelt_plugin.registry import register_system

register_system(
    "melp",
    model="cmelt_plugin.models.melp.model:MELP",
    config="cmelt_plugin.models.melp.config:MELPConfig",
    criterions={
        "melp": "cmelt_plugin.models.melp.criterion:MELPCriterion",
        "melp_clip": "cmelt_plugin.models.melp.criterion:MELPClipCriterion",
        "melp_caption": "cmelt_plugin.models.melp.criterion:MELPCaptionCriterion",
        "melp_local": "cmelt_plugin.models.melp.criterion:MELPLocalCriterion",
    },
    inputs="cmelt_plugin.models.melp.inputs:MELPInputs",
    card="cmelt_plugin.models.melp.card:CARD",
    ecg_side="cmelt_plugin.models.melp.ecg_side:MELPEncoder",
    released="cmelt_plugin.models.melp.released",
)
