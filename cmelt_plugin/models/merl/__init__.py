"""MERL: an ECG tower and a frozen text tower, aligned by a contrastive loss (Liu et al. 2024, ICML)."""

from cmelt_plugin.registry import register_system

register_system(
    "merl",
    model="cmelt_plugin.models.merl.model:MERL",
    config="cmelt_plugin.models.merl.config:MERLConfig",
    criterions={"merl": "cmelt_plugin.models.merl.criterion:MERLCriterion"},
    inputs="cmelt_plugin.models.merl.inputs:MERLInputs",
    card="cmelt_plugin.models.merl.card:CARD",
    ecg_side="cmelt_plugin.models.merl.ecg_side:MERLEncoder",
    released="cmelt_plugin.models.merl.released",
)
