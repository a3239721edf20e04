"""A linear layer on an ECG encoder: linear probing and fine-tuning."""

from cmelt_plugin.registry import register_model

register_model(
    "cmelt_classifier",
    model="cmelt_plugin.models.classifier.model:Classifier",
    config="cmelt_plugin.models.classifier.config:ClassifierConfig",
)
