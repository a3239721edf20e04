"""Models that know no host, made known to one: subclasses of the host's classes with the same fields and weights.

A model is a ``torch.nn.Module`` and its configuration a dataclass, so that both can be used without a host. The host trains
subclasses that are also of its own kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

from cmelt_plugin.host.distributed import data_parallel_group
from cmelt_plugin.host.feature_extractor import ecg_feature_extractor
from cmelt_plugin.host.names import Dataclass, Model, register_model

# What a model calls by these names of its class, where it has them, is the host's.
_PLACES: dict[str, Callable[..., Any]] = {
    "ecg_feature_extractor": ecg_feature_extractor,
    "data_parallel_group": data_parallel_group,
}


def add_model(name: str, model: type, config: type) -> type:
    """Register a model with the host.

    Args:
        name: what ``model._name`` calls it.
        model: a ``torch.nn.Module`` with ``build_model(cfg, task)``.
        config: its configuration, a dataclass.

    Returns:
        The class that the host builds.

    Raises:
        ValueError: another class of the same name is registered already.
    """
    derived = _lasting(hosted_config(config), name), _lasting(hosted_model(model), name)
    register_model(name, dataclass=derived[0])(derived[1])
    return derived[1]


def hosted_config(config: type) -> type:
    """``config`` as a configuration of the host's: its ``_name`` first, then the fields of ``config``."""
    return dataclass(type(config.__name__, (config, Dataclass), {"__doc__": config.__doc__}))


def hosted_model(model: Any) -> type:
    """``model`` as a model of the host's, which computes the same and whose weights have the same names."""

    class Hosted(model, Model):
        def set_num_updates(self, num_updates: int) -> None:
            Model.set_num_updates(self, num_updates)
            if hasattr(model, "set_num_updates"):
                model.set_num_updates(self, num_updates)

        def max_positions(self) -> None:
            return None

    for name, function in _PLACES.items():
        if hasattr(model, name):
            setattr(Hosted, name, staticmethod(function))
    Hosted.__name__, Hosted.__doc__ = model.__name__, model.__doc__
    return Hosted


def _lasting(derived: Any, name: str) -> Any:
    """The class under a name of this module, by which processes that the host spawns unpickle it."""
    if derived.__name__ in globals():
        raise ValueError(f"{name}: the host has a class {derived.__name__} already")
    derived.__module__, derived.__qualname__ = __name__, derived.__name__
    globals()[derived.__name__] = derived
    return derived
