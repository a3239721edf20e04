"""Contestants side by side: warm-up, then rounds in which each runs once, in an order that changes from round to round.

Whatever disturbs the machine for a while (other programs, the clock, the temperature) then meets all of them, and the
ratios are taken within rounds.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

import numpy as np
import torch

from benchmarks.harness.outcome import HIGHER, LOWER, Figure


@dataclass
class Race:
    """Times of several contestants.

    Attributes:
        seconds: contestant → float64 ``[rounds]``.
        peak_bytes: contestant → largest memory allocated on the device, CUDA only.
        failed: contestant → why it has no times (out of memory).
    """

    seconds: dict[str, np.ndarray] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def ratio(self, name: str, slow: str, fast: str) -> list[Figure]:
        """How many times as fast ``fast`` is as ``slow``, within rounds; empty where one of them has no times."""
        if slow not in self.seconds or fast not in self.seconds:
            return []
        return [figure_of(name, self.seconds[slow] / self.seconds[fast], "x", HIGHER)]

    def rate(self, contestant: str, items: float, unit: str, name: str | None = None) -> list[Figure]:
        """Items per second; empty where the contestant has no times."""
        if contestant not in self.seconds:
            return []
        return [figure_of(name or contestant, items / self.seconds[contestant], unit, HIGHER)]

    def time(self, contestant: str, name: str | None = None) -> list[Figure]:
        """Seconds per call; empty where the contestant has no times."""
        if contestant not in self.seconds:
            return []
        return [figure_of(name or contestant, self.seconds[contestant], "s", LOWER)]


def race(
    contestants: Mapping[str, Callable[[], Any]], rounds: int, device: str | torch.device = "cpu", warmup: int = 1
) -> Race:
    """Time each contestant ``rounds`` times.

    Args:
        contestants: name → what is timed. One that runs out of the device's memory is left out from then on.
        rounds: at least 1.
        device: a CUDA device is timed with its own events and synchronised before and after.
        warmup: calls of each before the rounds.
    """
    device = torch.device(device)
    result = Race()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(-warmup, rounds):
        names = [name for name in contestants if name not in result.failed]
        start = number % len(names) if names else 0
        gc.collect()
        for name in [*names[start:], *names[:start]]:
            try:
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(device)
                seconds = timed(contestants[name], device)
            except torch.cuda.OutOfMemoryError as error:
                result.failed[name] = f"out of memory: {str(error).splitlines()[0]}"
            if name in result.failed:  # only now do the failed call's tensors have no holder
                times.pop(name)
                gc.collect()
                if device.type == "cuda":
                    torch.cuda.empty_cache()
                continue
            if number >= 0:
                times[name].append(seconds)
            if device.type == "cuda":
                peak = torch.cuda.max_memory_allocated(device)
                result.peak_bytes[name] = max(peak, result.peak_bytes.get(name, 0))
    result.seconds = {name: np.array(values) for name, values in times.items()}
    return result


def timed(function: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one call, with Python's garbage collector at rest."""
    gc.disable()
    try:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            function()
            end.record()
            end.synchronize()
            return begin.elapsed_time(end) / 1000
        start = time.perf_counter()
        function()
        return time.perf_counter() - start
    finally:
        gc.enable()


def figure_of(name: str, values: Any, unit: str, better: str = "") -> Figure:
    """Median and quartiles of one value or several."""
    values = np.atleast_1d(np.asarray(values, dtype=np.float64))
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return Figure(name, float(middle), unit, float(low), float(high), better, len(values))
