"""Two processes joined by gloo on one machine, started once and shared by all tests that need them."""

from __future__ import annotations

import atexit
import functools
import os
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

N_RANKS = 2
TIMEOUT_S = 300  # far more than any call takes: a hanging collective must fail, not block


def _serve(rank: int, meeting_point: str, connection: Any) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=N_RANKS)
    while True:
        function, arguments = connection.recv()
        try:
            connection.send((function(*arguments), None))
        except Exception:
            connection.send((None, traceback.format_exc()))


class Ranks:
    """Calls one function in both processes, each with its own arguments. Functions must live in importable modules."""

    def __init__(self, folder: Path):
        context = multiprocessing.get_context("forkserver")  # whose process imports once what both need
        context.set_forkserver_preload(["torch._dynamo", "cmelt_plugin.host"])
        self.connections, self.processes = [], []
        for rank in range(N_RANKS):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, str(folder / "meeting"), theirs), daemon=True)
            process.start()
            theirs.close()
            self.connections.append(ours)
            self.processes.append(process)

    def __call__(self, function: Callable[..., Any], arguments: Sequence[Sequence[Any]]) -> list[Any]:
        """``function(*arguments[rank])`` in every rank → results in rank order.

        After a failure, when one rank may still wait for the other, the next test gets new processes.
        """
        try:
            return self._results(function, arguments)
        except BaseException:
            self.stop()
            two_ranks.cache_clear()
            raise

    def _results(self, function: Callable[..., Any], arguments: Sequence[Sequence[Any]]) -> list[Any]:
        for connection, own in zip(self.connections, arguments):
            connection.send((function, tuple(own)))
        results = []
        for rank, connection in enumerate(self.connections):
            if not connection.poll(TIMEOUT_S):
                raise TimeoutError(f"rank {rank} does not answer")
            result, error = connection.recv()
            assert error is None, f"rank {rank}:\n{error}"
            results.append(result)
        return results

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
            process.join()


@functools.lru_cache(maxsize=1)
def two_ranks() -> Ranks:
    """The two processes; they end with the test run."""
    folder = tempfile.TemporaryDirectory()
    ranks = Ranks(Path(folder.name))
    atexit.register(folder.cleanup)
    atexit.register(ranks.stop)
    return ranks
