"""C-MELT: ECG–language pre-training as a plugin of fairseq and fairseq-signals.

Importing this package is cheap. Tasks, models and criteria are registered when a host is already loaded, which is the
case when a host imports it through ``--user-dir``, and on :func:`register`. ``cmelt_plugin.load_pretrained(path)`` opens
a trained model; it is imported when first used.
"""

import importlib
import sys

__version__ = "0.1.0"

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
    "cmelt_plugin.optimizer",
)


def register() -> None:
    """Register every task, model, criterion and optimiser with the host. Calling it again does nothing."""
    for name in _REGISTERED_MODULES:
        importlib.import_module(name)


def __getattr__(name: str):
    """``cmelt_plugin.load_pretrained``, imported when first asked for: it needs torch and a host."""
    if name == "load_pretrained":
        from cmelt_plugin.models.pretrained import load_pretrained

        return load_pretrained
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if "fairseq" in sys.modules or "fairseq_signals" in sys.modules:
    register()
