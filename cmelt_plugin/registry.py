"""What the plugin consists of, by name: declared first, imported when it is needed.

A folder of :mod:`cmelt_plugin.models` is a system; its ``__init__.py`` declares it with :func:`register_system` and imports
nothing else. Nothing here needs torch or a host.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cmelt_plugin.errors import DataError

# Everything else a host must know of; each module registers itself when it is imported.
_REGISTERED_MODULES = (
    "cmelt_plugin.tasks.pretraining",
    "cmelt_plugin.tasks.sources",
    "cmelt_plugin.tasks.classification",
    "cmelt_plugin.tasks.identification",
    "cmelt_plugin.tasks.regression",
    "cmelt_plugin.tasks.text_mlm",
    "cmelt_plugin.criterions.classification",
    "cmelt_plugin.criterions.identification",
    "cmelt_plugin.criterions.regression",
    "cmelt_plugin.criterions.text_mlm",
    "cmelt_plugin.optim.adam",
    "cmelt_plugin.models.host_registration",
)


_SYSTEMS = "cmelt_plugin.models"  # whose folders declare themselves


@dataclass(frozen=True)
class Model:
    """A model and its configuration; both need no host.

    Attributes:
        name: what ``model._name`` calls it in configurations and checkpoints.
        model: ``module:class`` of a ``torch.nn.Module`` with ``build_model(cfg, task)``.
        config: ``module:class`` of its configuration, a dataclass.
        exporter: ``module:function`` that ``python -m cmelt_plugin.export`` calls with its own options where the folder is not
            that of a model of ECGs; None: it is.
        released: module that opens weights its authors published; None: there are none.
    """

    name: str
    model: str
    config: str
    exporter: str | None = None
    released: str | None = None

    def model_class(self) -> Any:
        return imported(self.model)

    def config_class(self) -> Any:
        return imported(self.config)


@dataclass(frozen=True)
class System(Model):
    """A model that is pre-trained, with what its training and its weights need.

    Attributes:
        criterions: what ``criterion._name`` calls it → ``module:class``, the usual one first.
        inputs: ``module:class`` of a :class:`cmelt_plugin.data.batches.inputs.Inputs`, which says what its batches hold beside
            ECG and report. The default adds nothing.
        reads_text: whether it has a text encoder; False: ECGs alone.
        card: ``module:name`` of a :class:`cmelt_plugin.models.files.card.SystemCard`, what model cards say of it.
        ecg_side: ``module:class`` of its ECG half alone, made of its configuration, with the whole model's names of weights and
            ``build_encoder`` as :class:`cmelt_plugin.models.base.ECGModel` has it; None: it does not stand alone.
        is_default: meant where a classifier does not say whose encoder it has, as those of before there were several.
    """

    criterions: Mapping[str, str] = field(default_factory=dict)
    inputs: str = "cmelt_plugin.data.batches.inputs:Inputs"
    reads_text: bool = True
    card: str = "cmelt_plugin.models.files.card:UNDESCRIBED"
    ecg_side: str | None = None
    is_default: bool = False

    @property
    def usual_criterion(self) -> str:
        """Name of the criterion it is trained with where no other is wanted."""
        return next(iter(self.criterions))

    def inputs_class(self) -> Any:
        return imported(self.inputs)

    def system_card(self) -> Any:
        card = imported(self.card)
        return card if card.name else card._replace(name=self.name, tags=(self.name,))


_models: dict[str, Model] = {}


def register_model(name: str, model: str, config: str, **more: Any) -> None:
    """Declare a model that is no system of its own, such as a classifier on the encoder of any; see :class:`Model`."""
    _add(Model(name, model, config, **more))


def register_system(name: str, model: str, config: str, **more: Any) -> None:
    """Declare a system; see :class:`System` for the arguments."""
    _add(System(name, model, config, **more))


def models() -> dict[str, Model]:
    """All models, systems among them, by name."""
    package = importlib.import_module(_SYSTEMS)
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if module.ispkg:
            importlib.import_module(module.name)
    return dict(_models)


def systems() -> dict[str, System]:
    """All systems by name."""
    return {name: model for name, model in models().items() if isinstance(model, System)}


def system_of_encoder(name: str | None) -> System:
    """The system whose ECG encoder a classifier has.

    Raises:
        DataError: there is no system of this name.
    """
    found = systems()
    chosen = found.get(name) if name else next((system for system in found.values() if system.is_default), None)
    if chosen is None:
        raise DataError(f"model.encoder must be one of {', '.join(sorted(found))}, not {name!r}")
    return chosen


def register() -> None:
    """Register every task, model, criterion and optimiser with the host. Calling it again does nothing."""
    for name in _REGISTERED_MODULES:
        importlib.import_module(name)


def imported(path: str) -> Any:
    """What ``module:name`` stands for."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _add(model: Model) -> None:
    if _models.setdefault(model.name, model) != model:
        raise ValueError(f"two models are called {model.name!r}")
