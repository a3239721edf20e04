"""Running independent pieces of work through an executor of ``concurrent.futures``: local processes, or a Dask cluster.

A piece of work must be repeatable: an engine may run one twice after a worker was lost, never half. Results come in any order.
Processes are loky's, which joblib brings along: they break with an error where those of the standard library can wait for ever
for a worker that died while it started.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable

from cmelt_plugin.errors import DataError
from preprocess.packing import dask_cluster
from preprocess.packing.dask_cluster import KILLED

BACKENDS = ("processes", "dask")
LOOK_SECONDS = 5.0  # between looks at a cluster that gives no results
AHEAD = 2  # pieces sent per worker; more would only fill the scheduler's memory
PARENT_SECONDS = 1.0  # between looks of a worker at its parent


@dataclass(frozen=True)
class Engine:
    """Where work is done.

    Attributes:
        backend: one of :data:`BACKENDS`.
        jobs: processes of this machine; a cluster uses all the workers it has.
        scheduler: address of the cluster.
    """

    backend: str = "processes"
    jobs: int = 1
    scheduler: str | None = None

    @property
    def remote(self) -> bool:
        """Whether work may be done on other machines."""
        return self.backend == "dask"

    def in_process(self, pieces: int) -> bool:
        """Whether so many pieces are best done without any other process."""
        return not self.remote and (self.jobs == 1 or pieces <= 1)

    def run(self, function: Callable[[Any], Any], items: Sequence[Any], done: Callable[[Any], Any]) -> None:
        """Call ``done(function(item))`` for every item, as results come.

        Args:
            function: picklable by name; on a cluster this package must be installed on every machine.
            items: picklable.
            done: called in this process.

        Raises:
            DataError: the engine is not installed, cannot be reached, or lost its workers.
            Exception: whatever ``function`` raises ends the run.
        """
        if not items:
            return
        if self.in_process(len(items)):
            for item in items:
                done(function(item))
        elif self.remote:
            with dask_cluster.connected(self.scheduler or "") as cluster:
                run_all(cluster.executor, function, items, done, cluster.n_threads, cluster.check)
        else:
            jobs = min(self.jobs, len(items))
            with _processes(jobs) as executor:
                run_all(executor, function, items, done, lambda: jobs)


def run_all(
    executor: Executor,
    function: Callable[[Any], Any],
    items: Sequence[Any],
    done: Callable[[Any], Any],
    n_workers: Callable[[], int],
    check: Callable[[bool], None] | None = None,
) -> None:
    """Keep every worker of an executor busy until all items are done.

    Args:
        executor: of whatever kind.
        function, items, done: as in :meth:`Engine.run`.
        n_workers: asked each time, so that workers which join later get work too.
        check: called after each look with whether there were results; raises where there will be none any more.
    """
    waiting = iter(items)
    running: set[Future] = set()
    while True:
        free = max(AHEAD * n_workers() - len(running), 0)
        running |= {executor.submit(function, item) for item in itertools.islice(waiting, free)}
        if not running:
            return
        finished, running = wait(running, LOOK_SECONDS, FIRST_COMPLETED)
        for future in finished:
            done(future.result())
        if check is not None:
            check(bool(finished))


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--backend`` and ``--scheduler``; ``--jobs`` is the command's own."""
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="processes",
        type=lambda name: "processes" if name == "loky" else name,  # their name when there were others, too
        help="what the work is divided by: processes of this machine, or a Dask cluster (processes)",
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="address of the Dask cluster: tcp://HOST:8786")


def engine_from(args: argparse.Namespace) -> Engine:
    """Engine from parsed arguments.

    Raises:
        DataError: the scheduler is missing, or given to a backend that has none.
    """
    engine = Engine(args.backend, args.jobs, args.scheduler)
    if engine.remote and not engine.scheduler:
        raise DataError(
            "--backend dask needs --scheduler ADDRESS of a cluster (started with `dask scheduler` and `dask worker`); "
            "on this machine alone use --backend processes"
        )
    if engine.scheduler and not engine.remote:
        raise DataError(f"--scheduler {engine.scheduler}: --backend {engine.backend} has none; give --backend dask")
    return engine


@contextmanager
def _processes(jobs: int) -> Iterator[Executor]:
    """So many processes, gone when the block is left.

    Raises:
        DataError: one of them was killed.
    """
    from joblib.externals.loky import ProcessPoolExecutor

    executor = ProcessPoolExecutor(jobs, initializer=_prepare_worker, initargs=(os.getpid(),))
    try:
        yield executor
    except BrokenProcessPool:
        raise DataError(f"{KILLED}, with fewer --jobs") from None
    finally:
        executor.shutdown(wait=True, kill_workers=True)


def _prepare_worker(parent: int) -> None:
    """End with the parent: without a traceback at Ctrl-C, and soon when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_SECONDS)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
