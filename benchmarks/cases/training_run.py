"""A host's training command with a clock on its data: ``python -m benchmarks.cases.training_run OUT.json HYDRA ARGUMENTS…``.

Every request of the trainer for a batch is timed, on a GPU also on its own time line, where a gap means that all work given to
it was done before the next batch came. Part of the run is profiled for the share of time in which the GPU runs something.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Callable

import torch

from benchmarks.harness.limits import kernel_seconds
from cmelt_plugin import host

PROFILED = 20
"""Updates that are profiled, after those that are timed."""


class Clock:
    """Notes when the trainer asks for a batch and when it gets it.

    Args:
        warmup: requests that do not count.
        timed: requests that count after them; on a GPU the next :data:`PROFILED` are profiled.
    """

    def __init__(self, warmup: int, timed: int) -> None:
        self.warmup, self.timed = warmup, timed
        self.gpu = torch.cuda.is_available()
        self.asked: list[float] = []
        self.got: list[float] = []
        self.events: list[tuple[Any, Any]] = []
        self.busy: float | None = None
        self._profiler: Any = None
        self._profile_start = 0.0

    def request(self, next_batch: Callable[[], Any]) -> Any:
        """Call ``next_batch`` and note how long it took."""
        number = len(self.asked)
        if self.gpu:
            self._profile(number)
            events = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            events[0].record()
        self.asked.append(time.perf_counter())
        batch = next_batch()
        self.got.append(time.perf_counter())
        if self.gpu:
            events[1].record()
            self.events.append(events)
        return batch

    def _profile(self, number: int) -> None:
        if number == self.warmup + self.timed:
            torch.cuda.synchronize()
            self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
            self._profiler.start()
            self._profile_start = time.perf_counter()
        elif number == self.warmup + self.timed + PROFILED:
            torch.cuda.synchronize()
            seconds = time.perf_counter() - self._profile_start
            self._profiler.stop()
            self.busy = kernel_seconds(self._profiler) / seconds

    def summary(self) -> dict[str, Any]:
        """``updates``, ``seconds`` and ``waiting`` seconds after the warm-up; on a GPU ``gpu_idle`` seconds and ``busy``.

        Raises:
            RuntimeError: the training ended before anything counted.
        """
        first, last = self.warmup, min(self.warmup + self.timed, len(self.got) - 1)
        if last <= first:
            raise RuntimeError(f"{len(self.got)} updates, of which {self.warmup} are warm-up: nothing to measure")
        result: dict[str, Any] = {
            "updates": last - first,
            "seconds": self.asked[last] - self.asked[first],
            "waiting": sum(self.got[i] - self.asked[i] for i in range(first, last)),
        }
        if self.gpu:
            torch.cuda.synchronize()
            gaps = [begin.elapsed_time(end) for begin, end in self.events[first:last]]
            result.update(gpu_idle=sum(gaps) / 1e3, busy=self.busy, peak_bytes=torch.cuda.max_memory_allocated())
        return result


def watch(clock: Clock) -> None:
    """Put the clock around the host's grouped iterator, which the trainer's loop alone draws from."""
    iterator_class = host.host_module("data.iterators").GroupedIterator
    inner_next = iterator_class.__next__
    iterator_class.__next__ = lambda self: clock.request(lambda: inner_next(self))


def main() -> None:
    """Run the training and write the summary."""
    path, warmup, timed, *arguments = sys.argv[1:]
    clock = Clock(int(warmup), int(timed))
    watch(clock)
    from fairseq_cli import hydra_train

    sys.argv = ["fairseq-hydra-train", *arguments]
    hydra_train.cli_main()
    Path(path).write_text(json.dumps(clock.summary()), encoding="utf-8")


if __name__ == "__main__":
    main()
