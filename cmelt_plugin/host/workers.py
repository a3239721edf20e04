"""What the hosts' commands run in place of their own functions, with this plugin registered and errors in one line.

``torch.multiprocessing.spawn`` pickles the function by name, ``cmelt_plugin.host.workers.train``; unpickling it in a
worker imports this module, and :func:`cmelt_plugin.registry.register` puts tasks, models and criteria into the host's tables.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from cmelt_plugin.errors import explanation
from cmelt_plugin.host.distributed import check_distributed
from cmelt_plugin.host.optim import check_schedule
from cmelt_plugin.registry import register

INTERRUPTED = 130  # what shells report of a process that Ctrl-C ended
HEAD_START = 3.0  # seconds
ORIGINAL = "_cmelt_original"
logger = logging.getLogger(__name__)


def train(cfg: Any, **arguments: Any) -> None:
    """``fairseq_cli.train.main`` with the plugin registered.

    Raises:
        SystemExit: 1 after an error a user can mend, such as a way of distributing that fails; 130 after Ctrl-C.
    """
    with errors_in_one_line():
        host_train = importlib.import_module("fairseq_cli.train")
        register()
        check_distributed(cfg)
        check_schedule(cfg)
        with _finished_stays_finished(host_train):
            host_train.main(cfg, **arguments)


def validate(cfg: Any, **arguments: Any) -> None:
    """``fairseq_cli.validate.main``, which fairseq-signals' ``hydra_validate`` calls, with the plugin registered."""
    with errors_in_one_line():
        host_validate = importlib.import_module("fairseq_cli.validate")
        register()
        host_validate.main(cfg, **arguments)


def hydra_validate(cfg: Any, **arguments: Any) -> None:
    """``fairseq_cli.hydra_validate.validate``, fairseq's own, with the plugin registered."""
    with errors_in_one_line():
        host_validate = importlib.import_module("fairseq_cli.hydra_validate")
        register()
        getattr(host_validate, ORIGINAL, host_validate.validate)(cfg, **arguments)


@contextlib.contextmanager
def _finished_stays_finished(host_train: Any) -> Iterator[None]:
    """Train nothing where ``max_update`` is reached: the hosts look at it only after an update, one more at each start."""
    train_epoch = host_train.train

    def train_if_unfinished(cfg: Any, trainer: Any, task: Any, epoch_itr: Any) -> tuple[list[float | None], bool]:
        done, wanted = trainer.get_num_updates(), cfg.optimization.max_update
        if wanted and done >= wanted:
            logger.info("finished already: %d updates, optimization.max_update=%d", done, wanted)
            return [None], True
        return train_epoch(cfg, trainer, task, epoch_itr)

    host_train.train = train_if_unfinished
    try:
        yield
    finally:
        host_train.train = train_epoch


@contextlib.contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Print what a user can mend in one line and leave with exit code 1; other exceptions keep their traceback.

    Hydra would print the whole way to the error. Of several processes that fail alike the first is given time to say so:
    whatever started them then ends the others.

    Raises:
        SystemExit: 1, or 130 after Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        _leave("\ninterrupted", INTERRUPTED)
    except Exception as error:
        message = explanation(error)
        if message is None:
            raise
        _leave(f"error: {message}", 1)


def _leave(line: str, code: int) -> None:
    if _rank() != 0:
        time.sleep(HEAD_START)
    sys.stdout.flush()
    print(line, file=sys.stderr, flush=True)
    raise SystemExit(code)


def _rank() -> int:
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank()
    return int(os.environ.get("RANK", 0))
