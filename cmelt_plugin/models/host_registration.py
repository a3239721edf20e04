"""Makes every model of the registry that is trained known to the host; imported by :func:`cmelt_plugin.registry.register`."""

from __future__ import annotations

from cmelt_plugin import host, registry
from cmelt_plugin.models.building import check_checkpoint
from cmelt_plugin.models.encoders.frozen import FrozenEncoder

for _model in registry.models().values():
    if not issubclass(_model.model_class(), FrozenEncoder):
        host.add_model(_model.name, _model.model_class(), _model.config_class())
for _system in registry.systems().values():
    for _criterion in _system.criterions.values():
        registry.imported(_criterion)
host.checkpoint_checks.append(check_checkpoint)
