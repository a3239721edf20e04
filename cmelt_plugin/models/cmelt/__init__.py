"""C-MELT: contrastive masked ECG–language pre-training."""

from cmelt_plugin.registry import register_system

register_system(
    "cmelt",
    model="cmelt_plugin.models.cmelt.model:CMELT",
    config="cmelt_plugin.models.cmelt.config:CMELTConfig",
    criterions={
        "cmelt": "cmelt_plugin.models.cmelt.criterion:CompositeCriterion",
        "cmelt_mlm": "cmelt_plugin.models.cmelt.criterion:MLMCriterion",
        "cmelt_mem": "cmelt_plugin.models.cmelt.criterion:MEMCriterion",
        "cmelt_etm": "cmelt_plugin.models.cmelt.criterion:ETMCriterion",
        "cmelt_siglep": "cmelt_plugin.models.cmelt.criterion:SiglepCriterion",
    },
    inputs="cmelt_plugin.models.cmelt.inputs:CMELTInputs",
    card="cmelt_plugin.models.cmelt.card:CARD",
    ecg_side="cmelt_plugin.models.cmelt.ecg_side:CMELTEncoder",
    is_default=True,
    released="cmelt_plugin.models.cmelt.released",
)
