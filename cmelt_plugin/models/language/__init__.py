"""The language stage: a text encoder that learns to predict masked words, before any system reads it."""

from cmelt_plugin.registry import register_model

register_model(
    "cmelt_text_mlm",
    model="cmelt_plugin.models.language.model:LanguageModel",
    config="cmelt_plugin.models.language.config:LanguageConfig",
    exporter="cmelt_plugin.models.language.folder:export",
)
