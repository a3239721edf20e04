"""C-MELT: contrastive masked ECG–language pre-training."""

from cmelt_plugin.registry import register_system

register_system(
    "cmelt",
    model="cmelt_plugin.models.cmelt.model:CMELT",
    config="cmelt_plugin.models.cmelt.config:CMELTConfig",
    criterions={
        "cmelt": "cmelt_plugin.criterions.composite:CompositeCriterion",
        "cmelt_mlm": "cmelt_plugin.criterions.mlm:MLMCriterion",
        "cmelt_mem": "cmelt_plugin.criterions.mem:MEMCriterion",
        "cmelt_etm": "cmelt_plugin.criterions.etm:ETMCriterion",
        "cmelt_siglep": "cmelt_plugin.criterions.siglep:SiglepCriterion",
    },
    released="cmelt_plugin.models.cmelt.released",
)
