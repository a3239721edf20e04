"""The hosts' own commands, run through :mod:`cmelt_plugin.host.workers`."""

from __future__ import annotations

import os
import sys
from typing import Any

from torch.multiprocessing.spawn import ProcessExitedException

from cmelt_plugin.host import workers
from cmelt_plugin.host.choosing import host_module


def install() -> None:
    """Run the host's commands with this plugin registered and errors in one line."""
    _run_through_workers()
    _leave_with_spawned_workers()


def _run_through_workers() -> None:
    """Put the functions of :mod:`cmelt_plugin.host.workers` in place of those that the hosts' hydra commands run.

    Worker processes that the host spawns do not run hydra: they unpickle the function by its qualified name. One of ours
    makes unpickling import this plugin first. In every process they print errors in one line.
    """
    replacements = {
        ("pre_main", "fairseq_cli.train", "main"): workers.train,
        ("pre_main", "fairseq_cli.validate", "main"): workers.validate,
        ("validate", "fairseq_cli.hydra_validate", "validate"): workers.hydra_validate,
    }
    started = os.path.basename(getattr(sys.modules["__main__"], "__file__", None) or "")
    if started == "hydra_validate.py":  # python -m fairseq_cli.hydra_validate
        replacements["validate", "__main__", "validate"] = workers.hydra_validate
    for name in ("fairseq_cli.hydra_train", "fairseq_cli.hydra_validate", "__main__"):
        module = sys.modules.get(name)
        for attribute in ("pre_main", "validate"):
            function = getattr(module, attribute, None)
            where = (attribute, getattr(function, "__module__", ""), getattr(function, "__name__", ""))
            if where in replacements:
                setattr(module, workers.ORIGINAL, function)
                setattr(module, attribute, replacements[where])


def _leave_with_spawned_workers() -> None:
    """Where a worker process has said in one line why it ended, end the command, too, without hydra's account of it."""
    utils = host_module("distributed.utils")
    call_main = utils.call_main

    def call_main_and_leave(cfg: Any, main: Any, **arguments: Any) -> None:
        try:
            call_main(cfg, main, **arguments)
        except ProcessExitedException as error:
            # Exceptions of workers arrive as another class; these codes come from workers.errors_in_one_line.
            if error.exit_code in (1, workers.INTERRUPTED):
                raise SystemExit(error.exit_code) from None
            raise
        except KeyboardInterrupt:  # while waiting for workers
            print("\ninterrupted", file=sys.stderr)
            raise SystemExit(workers.INTERRUPTED) from None

    utils.call_main = call_main_and_leave
