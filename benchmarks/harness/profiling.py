"""Where a training step spends its time, by part and by kind of operation, for several ways side by side.

Parts are marked by :func:`part`: forward pass of each part of the model, backward pass, optimiser. Kinds sum up the time
that operations spend in themselves, so that they add up to the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, NamedTuple

import torch

from benchmarks.harness.options import Options
from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.tables import markdown

MARK = "part/"
FORWARD, BACKWARD, OPTIMISER = "forward", "backward", "optimiser"
STEPS = 3
# The first kind of which an operation's name holds one of the words. Names of operations and of GPU kernels.
KINDS = {
    "fused attention": ("scaled_dot_product", "flash", "attention", "fmha"),
    "convolutions": ("conv", "cudnn", "dgrad", "wgrad"),
    "matrix products": ("mm", "matmul", "linear", "bmm", "gemm", "cutlass", "nvjet"),
    "softmax and cross-entropy": ("softmax", "nll_loss"),
    "normalisation": ("norm", "rsqrt", "var", "std"),
    "dropout": ("dropout", "bernoulli"),
    "activation functions": ("gelu", "tanh", "softplus", "sigmoid"),
    "copies, choosing, clearing": (
        "copy", "clone", "contiguous", "cat", "index", "gather", "scatter", "select", "embedding", "zero", "fill", "nonzero",
        "Memset", "sort",
    ),
}  # fmt: skip
OTHER = "other arithmetic by element"
BETWEEN = "Python, between operations"


class Profile(NamedTuple):
    """Milliseconds a step.

    Attributes:
        total: the whole step.
        parts: name → inclusive time.
        kinds: name → time of operations in themselves, the optimiser's included.
        table: the longest operations, as text.
    """

    total: float
    parts: dict[str, float]
    kinds: dict[str, float]
    table: str


def part(name: str) -> Any:
    """Context that a profile shows as a part."""
    return torch.profiler.record_function(MARK + name)


def write_profile(
    path: Path, steps: Mapping[str, Callable[[], None]], model: Any, modules: Sequence[str], options: Options
) -> None:
    """Profile a few steps of each way and write the tables, in Markdown.

    Args:
        path: file to write.
        steps: name → one training step.
        model: some of whose modules are shown as parts where a step calls them.
        modules: their names.
        options: the device among them.
    """
    with named_parts(model, modules):
        profiles = {name: profile(step, options, modules) for name, step in steps.items()}
    text = [
        table_of("part of the step", profiles, lambda found: found.parts),
        table_of("kind of operation", profiles, lambda found: found.kinds),
        *(f"Longest operations, {name}\n\n{found.table}" for name, found in profiles.items()),
    ]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(text), encoding="utf-8")


def profile(step: Callable[[], None], options: Options, modules: Sequence[str] = ()) -> Profile:
    """Profile a few steps after one that warms up; ``modules`` are parts of the forward pass."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if options.on_gpu:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    n_steps = 1 if options.quick else STEPS
    step()
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(n_steps):
            step()
        if options.on_gpu:
            torch.cuda.synchronize(options.device)
    averages = profiler.key_averages()
    processor = "device" if options.on_gpu else "cpu"
    if options.on_gpu and not any(hasattr(entry, "self_device_time_total") for entry in averages):
        processor = "cuda"  # its name before torch 2.4
    parts: dict[str, float] = {}
    kinds = dict.fromkeys([*KINDS, OTHER, *([] if options.on_gpu else [BETWEEN])], 0.0)
    for entry in averages:
        itself = getattr(entry, f"self_{processor}_time_total") / 1e3 / n_steps
        if entry.key.startswith(MARK):
            parts[entry.key[len(MARK) :]] = getattr(entry, f"{processor}_time_total") / 1e3 / n_steps
            if BETWEEN in kinds:
                kinds[BETWEEN] += itself
        else:
            kinds[kind_of(entry.key)] += itself
    table = averages.table(sort_by=f"self_{processor}_time_total", row_limit=40)
    return Profile(sum(kinds.values()), split_forward(parts, modules), kinds, table)


def kind_of(operation: str) -> str:
    """The kind of an operation or kernel, by its name."""
    return next((kind for kind, words in KINDS.items() if any(word in operation for word in words)), OTHER)


def split_forward(parts: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """Parts in the order of a step; what the forward pass spends outside the modules is its rest."""
    modules = {f"{FORWARD}, {name}": parts[name] for name in names if name in parts}
    rest = parts.get(FORWARD, 0.0) - sum(modules.values())
    ends = {name: parts[name] for name in (BACKWARD, OPTIMISER) if name in parts}
    return {**modules, f"{FORWARD}, the rest": rest, **ends}


def table_of(what: str, profiles: Mapping[str, Profile], rows_of: Callable[[Profile], dict[str, float]]) -> str:
    """A Markdown table with a row per part or kind, and the whole step last."""
    head = [what, *(cell for name in profiles for cell in (f"{name}, ms", "share"))]
    rows = []
    for name in dict.fromkeys(name for found in profiles.values() for name in rows_of(found)):
        times = [(rows_of(found).get(name, 0.0), found.total) for found in profiles.values()]
        rows.append([name, *(cell for time, total in times for cell in (f"{time:,.0f}", share(time, total)))])
    whole = [cell for found in profiles.values() for cell in (f"{found.total:,.0f}", "100 %")]
    return markdown(head, [*rows, ["**whole step**", *whole]], numeric=False)


def share(time: float, total: float) -> str:
    """Per cent of the whole, as text."""
    return f"{100 * time / total:.0f} %" if total else "–"


@contextmanager
def named_parts(model: Any, modules: Sequence[str]) -> Iterator[None]:
    """Mark the forward pass of some of the model's modules as parts."""
    handles, ranges = [], {}
    for name in modules:
        module = getattr(model, name, None)
        if module is None:
            continue

        def enter(module: Any, inputs: Any, name: str = name) -> None:
            ranges[name] = part(name)
            ranges[name].__enter__()

        def leave(module: Any, inputs: Any, output: Any, name: str = name) -> None:
            ranges.pop(name).__exit__(None, None, None)

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
