"""Where a training step spends its time: by part of the model and by operation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import torch

from benchmarks.options import Options
from cmelt_plugin.data.files import atomic_path

PARTS = ("ecg_encoder", "text_encoder", "fusion", "mlm_head", "mem_head", "etm_head", "ecg_projection", "text_projection")
STEPS = 3


def write_profile(path: Path, model: Any, step: Callable[[], None], options: Options) -> None:
    """Profile a few steps and write the tables as text.

    Args:
        path: file to write.
        model: whose parts are named.
        step: one training step.
        options: the device among them.
    """
    activities = [torch.profiler.ProfilerActivity.CPU]
    if options.on_gpu:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    step()
    with named_parts(model), torch.profiler.profile(activities=activities, record_shapes=False) as profiler:
        for _ in range(1 if options.quick else STEPS):
            step()
        if options.on_gpu:
            torch.cuda.synchronize(options.device)
    averages = profiler.key_averages()
    order = "self_device_time_total" if options.on_gpu else "self_cpu_time_total"
    if options.on_gpu and not any(hasattr(entry, order) for entry in averages):
        order = "self_cuda_time_total"  # its name before torch 2.4
    text = [
        "Forward pass by part (inclusive)",
        *part_lines(averages),
        "",
        "Operations of the whole step, by the time spent in each itself",
        averages.table(sort_by=order, row_limit=40),
    ]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(text), encoding="utf-8")


@contextmanager
def named_parts(model: Any) -> Iterator[None]:
    """Let the profile show the forward pass of each part of the model under ``part/NAME``."""
    handles, ranges = [], {}
    for name in PARTS:
        module = getattr(model, name, None)
        if module is None:
            continue

        def enter(module: Any, inputs: Any, name: str = name) -> None:
            ranges[name] = torch.profiler.record_function(f"part/{name}")
            ranges[name].__enter__()

        def leave(module: Any, inputs: Any, output: Any, name: str = name) -> None:
            ranges.pop(name).__exit__(None, None, None)

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def part_lines(averages: Any) -> list[str]:
    """A line per part with its milliseconds on the CPU, the longest first."""
    parts = [(entry.cpu_time_total / 1e3, entry.key[len("part/") :], entry.count) for entry in averages if "part/" in entry.key]
    return [f"  {name:16} {total / count:10.2f} ms a step" for total, name, count in sorted(parts, reverse=True)]
