"""What spawned worker processes run: the host's own functions, found through this plugin so that it is registered.

``torch.multiprocessing.spawn`` pickles the function by name, ``cmelt_plugin.workers.train``; unpickling it in a worker
imports this module, and :func:`cmelt_plugin.register` then puts tasks, models and criteria into the host's tables.
"""

from __future__ import annotations

from typing import Any


def train(cfg: Any, **arguments: Any) -> None:
    """``fairseq_cli.train.main`` with the plugin registered.

    Raises:
        DataError: the way of distributing that the configuration asks for is one that fails.
    """
    from fairseq_cli import train as host_train

    import cmelt_plugin

    cmelt_plugin.register()
    from cmelt_plugin import host

    host.check_distributed(cfg)
    host_train.main(cfg, **arguments)


def validate(cfg: Any, **arguments: Any) -> None:
    """``fairseq_cli.validate.main`` with the plugin registered."""
    from fairseq_cli import validate as host_validate

    import cmelt_plugin

    cmelt_plugin.register()
    host_validate.main(cfg, **arguments)
