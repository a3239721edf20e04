"""C-MELT: ECG–language pre-training as a plugin of fairseq and fairseq-signals.

Importing this package is cheap. Tasks, models and criteria are registered when a host is already loaded, which is the
case when a host imports it through ``--user-dir``, and on :func:`register`.
"""

import importlib
import sys

__version__ = "0.1.0"

# Everything a host must know of; each module registers itself when it is imported.
_REGISTERED_MODULES = (
    "cmelt_plugin.tasks.pretraining",
    "cmelt_plugin.models.cmelt",
    "cmelt_plugin.criterions.mlm",
    "cmelt_plugin.criterions.mem",
    "cmelt_plugin.criterions.etm",
    "cmelt_plugin.criterions.siglep",
    "cmelt_plugin.criterions.composite",
)


def register() -> None:
    """Register every task, model and criterion with the host. Calling it again does nothing."""
    for name in _REGISTERED_MODULES:
        importlib.import_module(name)


if "fairseq" in sys.modules or "fairseq_signals" in sys.modules:
    register()
