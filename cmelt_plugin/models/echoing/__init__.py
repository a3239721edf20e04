"""EchoingECG: ECGs, reports and echocardiograms as Gaussians in one space (Gao, Kim, McIntosh 2025, MICCAI, arXiv 2509.25791).

Written from published formulas and shapes, with weights of its own: an EchoingECG-style model.
"""

from cmelt_plugin.registry import register_system

register_system(
    "echoing_ecg",
    model="cmelt_plugin.models.echoing.model:EchoingECG",
    config="cmelt_plugin.models.echoing.config:EchoingConfig",
    criterions={"pcmepp": "cmelt_plugin.models.echoing.criterion:PCMEPPCriterion"},
    inputs="cmelt_plugin.models.echoing.inputs:EchoingInputs",
    card="cmelt_plugin.models.echoing.card:CARD",
    ecg_side="cmelt_plugin.models.echoing.ecg_side:EchoingEncoder",
    released="cmelt_plugin.models.echoing.released",
)
