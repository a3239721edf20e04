"""What the plugin consists of, by name; imported when it is needed."""

from __future__ import annotations

import importlib

# Everything a host must know of; each module registers itself when it is imported.
_REGISTERED_MODULES = (
    "cmelt_plugin.tasks.pretraining",
    "cmelt_plugin.tasks.classification",
    "cmelt_plugin.tasks.identification",
    "cmelt_plugin.models.building",
    "cmelt_plugin.models.cmelt.model",
    "cmelt_plugin.models.classifier.model",
    "cmelt_plugin.criterions.mlm",
    "cmelt_plugin.criterions.mem",
    "cmelt_plugin.criterions.etm",
    "cmelt_plugin.criterions.siglep",
    "cmelt_plugin.criterions.composite",
    "cmelt_plugin.criterions.classification",
    "cmelt_plugin.criterions.identification",
    "cmelt_plugin.optim.adam",
)


def register() -> None:
    """Register every task, model, criterion and optimiser with the host. Calling it again does nothing."""
    for name in _REGISTERED_MODULES:
        importlib.import_module(name)
