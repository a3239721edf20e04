"""Running independent pieces of work: in processes of this machine, or on a cluster of Dask or Ray.

A piece of work must be repeatable: an engine may run one twice after a worker was lost, never half. Results come in any order.

``processes`` is the default: its workers end with their parent even when that is killed, while joblib's loky workers go on
for a while. Dask and Ray are spoken to directly and not through joblib's backends: joblib waits for ever for a piece that
Dask has given up, and Ray's backend for joblib cannot report single results.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import itertools
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Callable

from cmelt_plugin.errors import DataError

BACKENDS = ("processes", "loky", "dask", "ray")
CONNECT_SECONDS = 60
LOOK_SECONDS = 5  # between looks at a cluster that gives no results
AHEAD = 2  # pieces sent per worker thread; more would only fill the scheduler's memory
LOST = "the connection to the Dask scheduler was lost; run the same command again to go on"
NO_WORKER = "the Dask cluster lost its last worker; start workers and run the same command again to go on"
KILLED = "a worker process was killed (out of memory?); run the same command again to go on"


@dataclass(frozen=True)
class Engine:
    """Where work is done.

    Attributes:
        backend: one of :data:`BACKENDS`.
        jobs: processes of this machine (``processes``, ``loky``); a cluster uses all the workers it has.
        scheduler: address of the cluster; Ray without one starts by itself on this machine.
    """

    backend: str = "processes"
    jobs: int = 1
    scheduler: str | None = None

    @property
    def remote(self) -> bool:
        """Whether work may be done on other machines."""
        return self.backend in ("dask", "ray")

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
        else:
            _RUNNERS[self.backend](self, function, items, done)


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--backend`` and ``--scheduler``; ``--jobs`` is the command's own."""
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="processes",
        help="what the work is divided by: processes or loky on this machine, or a cluster of dask or ray (processes)",
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="address of the cluster, for dask and ray: tcp://HOST:8786")


def engine_from(args: argparse.Namespace) -> Engine:
    """Engine from parsed arguments.

    Raises:
        DataError: the scheduler is missing, or given to a backend that has none.
    """
    engine = Engine(args.backend, args.jobs, args.scheduler)
    if engine.backend == "dask" and not engine.scheduler:
        raise DataError(
            "--backend dask needs --scheduler ADDRESS of a cluster (started with `dask scheduler` and `dask worker`); "
            "on this machine alone use --backend processes"
        )
    if engine.scheduler and not engine.remote:
        raise DataError(f"--scheduler {engine.scheduler}: --backend {engine.backend} has none; give --backend dask or ray")
    return engine


def _processes(engine: Engine, function: Callable[[Any], Any], items: Sequence[Any], done: Callable[[Any], Any]) -> None:
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(engine.jobs, len(items)), mp_context=context, initializer=_prepare_worker)
    try:
        for future in as_completed([pool.submit(function, item) for item in items]):
            done(future.result())
        pool.shutdown()
    except BrokenProcessPool:
        raise DataError(f"{KILLED}, with fewer --jobs") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _prepare_worker() -> None:
    """End with the parent: without a traceback at Ctrl-C, and at once when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if not parent.is_alive():
        os._exit(1)

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _loky(engine: Engine, function: Callable[[Any], Any], items: Sequence[Any], done: Callable[[Any], Any]) -> None:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import BrokenProcessPool as BrokenLoky

    parallel = Parallel(
        n_jobs=min(engine.jobs, len(items)),
        backend="loky",
        return_as="generator_unordered",
        batch_size=1,  # joblib would put quick pieces together, and a killed worker would lose all of them
        max_nbytes=None,
    )
    try:
        for result in parallel(delayed(function)(item) for item in items):
            done(result)
    except BrokenLoky:
        raise DataError(f"{KILLED}, with fewer --jobs") from None


def _dask(engine: Engine, function: Callable[[Any], Any], items: Sequence[Any], done: Callable[[Any], Any]) -> None:
    distributed = _import("distributed", "dask", 'pip install "dask[distributed]"')
    # A lost connection is an exception here, which ends in one line; Dask would log its tracebacks besides.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL + 1)
    try:
        client = distributed.Client(engine.scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, ImportError) as error:  # its TimeoutError is an OSError
        raise DataError(f"--scheduler {engine.scheduler}: no Dask scheduler answers there ({error})") from None
    try:
        with client:
            _dask_loop(engine, distributed, client, function, items, done)
    except distributed.scheduler.KilledWorker as error:
        raise DataError(f"{KILLED}; Dask gave up work that cost it several workers: {_one_line(error)}") from None
    except (distributed.CancelledError, distributed.comm.CommClosedError):
        raise DataError(LOST) from None


def _dask_loop(
    engine: Engine,
    distributed: Any,
    client: Any,
    function: Callable[[Any], Any],
    items: Sequence[Any],
    done: Callable[[Any], Any],
) -> None:
    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except (TimeoutError, asyncio.TimeoutError):  # two classes before Python 3.11
        raise DataError(f"--scheduler {engine.scheduler}: it has no worker; start one with `dask worker`") from None
    if max(_threads(client), default=1) > 1:
        print("warning: Dask workers with several threads gain nothing; start them with --nthreads 1", file=sys.stderr)
    waiting = iter(items)
    running: set[Any] = set()
    worker_seen = time.monotonic()
    with client.as_current():
        while True:
            # Counted anew each time, so that workers that join later get work too.
            limit = AHEAD * max(sum(_threads(client)), 1)
            for item in itertools.islice(waiting, max(limit - len(running), 0)):
                # As part of the task, not scattered: data kept by a worker would be lost with it.
                running.add(client.submit(function, item, pure=False))
            if not running:
                return
            try:
                finished, running = distributed.wait(running, timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
            except (TimeoutError, asyncio.TimeoutError):
                finished = ()
            for future in finished:
                done(future.result())
            # A scheduler without workers keeps the work for ever.
            if finished or _threads(client):
                worker_seen = time.monotonic()
            elif time.monotonic() - worker_seen > CONNECT_SECONDS:
                raise DataError(NO_WORKER)


def _threads(client: Any) -> list[int]:
    """Threads of each worker, which only the scheduler knows."""
    try:
        return list(client.nthreads().values())
    except OSError:  # the client's try to connect again ran out of time
        raise DataError(LOST) from None


def _ray(engine: Engine, function: Callable[[Any], Any], items: Sequence[Any], done: Callable[[Any], Any]) -> None:
    ray = _import("ray", "ray", "pip install ray")
    try:
        ray.init(address=engine.scheduler, log_to_driver=False, include_dashboard=None if engine.scheduler else False)
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"--scheduler {engine.scheduler}: no Ray cluster answers there ({_one_line(error)})") from None
    try:
        remote = ray.remote(_call)  # repeats a piece up to three times when its worker dies
        limit = AHEAD * max(int(ray.cluster_resources().get("CPU", 1)), 1)
        waiting, running = iter(items), []
        while True:
            for item in waiting:
                running.append(remote.remote(function, item))
                if len(running) >= limit:
                    break
            if not running:
                return
            finished, running = ray.wait(running)
            for reference in finished:
                done(ray.get(reference))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise DataError(f"{KILLED} ({_one_line(error)})") from None
    finally:
        ray.shutdown()


def _call(function: Callable[[Any], Any], item: Any) -> Any:
    return function(item)


def _import(module: str, backend: str, command: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(f"--backend {backend} cannot be used ({error}): {command}") from None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


_RUNNERS: dict[str, Callable[..., None]] = {"processes": _processes, "loky": _loky, "dask": _dask, "ray": _ray}
