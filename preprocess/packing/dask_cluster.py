"""A Dask cluster as an executor of ``concurrent.futures``, and what can go wrong with one in words."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from cmelt_plugin.errors import DataError

CONNECT_SECONDS = 60
LOST = "the connection to the Dask scheduler was lost; run the same command again to go on"
NO_WORKER = "the Dask cluster lost its last worker; start workers and run the same command again to go on"
KILLED = "a worker process was killed (out of memory?); run the same command again to go on"


class Cluster:
    """A connection.

    Attributes:
        executor: runs a piece of work again elsewhere when its worker dies, up to three times.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._worker_seen = time.monotonic()
        # Work is not looked up by what it is called with: the same block may be wanted again after its files are gone.
        self.executor: Executor = client.get_executor(pure=False)

    def threads(self) -> list[int]:
        """Threads of each worker, which only the scheduler knows.

        Raises:
            DataError: it does not answer any more.
        """
        try:
            return list(self._client.nthreads().values())
        except OSError:  # the client's try to connect again ran out of time
            raise DataError(LOST) from None

    def n_threads(self) -> int:
        """Of all workers; 1 where there is none at the moment."""
        return max(sum(self.threads()), 1)

    def check(self, progress: bool) -> None:
        """Note that there was ``progress``, or that there still are workers: a scheduler without any keeps the work for ever.

        Raises:
            DataError: there has been neither for :data:`CONNECT_SECONDS`.
        """
        if progress or self.threads():
            self._worker_seen = time.monotonic()
        elif time.monotonic() - self._worker_seen > CONNECT_SECONDS:
            raise DataError(NO_WORKER)


@contextmanager
def connected(scheduler: str) -> Iterator[Cluster]:
    """The cluster whose scheduler has that address, until the block is left.

    Raises:
        DataError: Dask is not installed, no scheduler answers, it has no worker, or it or its workers are lost in the block.
    """
    try:
        import distributed
    except ImportError as error:
        raise DataError(f'--backend dask cannot be used ({error}): pip install "dask[distributed]"') from None
    # A lost connection is an exception here, which ends in one line; Dask would log its tracebacks besides.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL + 1)
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, ImportError) as error:  # its TimeoutError is an OSError
        raise DataError(f"--scheduler {scheduler}: no Dask scheduler answers there ({error})") from None
    try:
        with client, client.as_current():
            try:
                client.wait_for_workers(1, timeout=CONNECT_SECONDS)
            except (TimeoutError, asyncio.TimeoutError):  # two classes before Python 3.11
                raise DataError(f"--scheduler {scheduler}: it has no worker; start one with `dask worker`") from None
            cluster = Cluster(client)
            if max(cluster.threads(), default=1) > 1:
                print("warning: Dask workers with several threads gain nothing; start them with --nthreads 1", file=sys.stderr)
            yield cluster
    except distributed.scheduler.KilledWorker as error:
        raise DataError(
            f"{KILLED}; Dask gave up work that cost it several workers: {' '.join(str(error).split())[:300]}"
        ) from None
    except (distributed.CancelledError, concurrent.futures.CancelledError, distributed.comm.core.CommClosedError):
        raise DataError(LOST) from None
