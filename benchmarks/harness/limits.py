"""What the machine can do at best: the rates that measured ones are compared with."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from benchmarks.harness.outcome import Figure
from benchmarks.harness.timing import figure_of, race


def matmul_rate(device: str | torch.device, dtype: torch.dtype, size: int, rounds: int = 5) -> Figure:
    """Multiplication of two square matrices: TFLOP/s (a multiplication and an addition are two operations).

    The best round counts, not the median: a limit is not lowered by what else the machine was doing.

    Args:
        device: where.
        dtype: of the matrices.
        size: rows; 8192 fills a GPU, 2048 a few cores.
        rounds: timed repetitions.
    """
    device = torch.device(device)
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator).to(device, dtype) for _ in range(2))
    out = torch.empty_like(a)
    calls = 20 if device.type == "cuda" else 2

    def multiply() -> None:
        for _ in range(calls):
            torch.matmul(a, b, out=out)

    seconds = race({"matmul": multiply}, rounds, device).seconds["matmul"]
    return figure_of(f"matmul {str(dtype).rpartition('.')[2]}", calls * 2 * size**3 / seconds.min() / 1e12, "TFLOP/s")


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals ``(start, end)``: overlapping kernels count once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def kernel_seconds(profiler: torch.profiler.profile) -> float:
    """Seconds in which a finished profile saw the GPU run at least one kernel or copy; 0 without a GPU."""
    spans = []
    for event in profiler.events() or ():
        # Annotated ranges of the host program appear on the GPU's timeline too, gaps included.
        annotation = getattr(event, "is_user_annotation", False)
        if event.device_type == torch.autograd.DeviceType.CUDA and not annotation:
            spans.append((event.time_range.start, event.time_range.end))
    return covered(spans) / 1e6
