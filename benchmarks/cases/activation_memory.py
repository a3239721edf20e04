"""What a training step keeps for its backward pass, at the paper's sizes: most of a GPU's memory, counted without a GPU.

Counted are the bytes of all tensors that automatic differentiation has saved when the loss is known, each storage once, weights
left out; of checkpointed layers what they are given. What was saved for outputs that nobody reads is gone by then. Both ways
are counted as they run on a GPU (:mod:`benchmarks.harness.gpu_paths`), whose attention keeps no matrices. Two batch sizes
separate what grows with the batch (``a pair``) from what does not, such as the weights that autocast turns into bfloat16. Ways
and weights are those of ``step``, with texts of 48 tokens.

``by arithmetic at 128`` adds weights, gradients and Adam's moments in float32, 16 bytes a parameter, to 128 pairs of that. It
leaves out what comes and goes within an operation and what an allocator wastes, so that ``step --device cuda`` will tell more
on both sides.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Callable
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks import systems
from benchmarks.cases.step import TOLERANCE, check_losses
from benchmarks.harness import training
from benchmarks.harness.gpu_paths import gpu_paths
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import HIGHER, LOWER, Figure, Outcome
from benchmarks.harness.timing import figure_of
from cmelt_plugin.modules import transformer

ROWS = (2, 4)
BATCH = 128
STATIC_BYTES = 16
"""A parameter, its gradient and two moments in float32."""


class Kept:
    """Storages that are kept for a backward pass.

    Args:
        leave_out: tensors that are there anyway.
    """

    def __init__(self, leave_out: Iterator[Tensor]) -> None:
        self._anyway = {tensor.untyped_storage().data_ptr() for tensor in leave_out}
        self._bytes: dict[int, int] = {}
        self._holders: Counter[int] = Counter()

    def add(self, tensor: Tensor) -> Holder:
        """Count a tensor for as long as somebody has what is returned."""
        storage = tensor.untyped_storage()
        place, holder = storage.data_ptr(), Holder(tensor)
        if place not in self._anyway:
            self._bytes[place] = storage.nbytes()
            self._holders[place] += 1
            weakref.finalize(holder, self._holders.subtract, [place])
        return holder

    @property
    def total(self) -> int:
        """Bytes of all."""
        return sum(self._bytes[place] for place, holders in self._holders.items() if holders)


class Holder:
    """What a graph keeps in a tensor's place."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()  # an output would keep the graph that keeps it


@contextmanager
def counted_checkpoints(kept: Kept) -> Iterator[None]:
    """Count what checkpointed layers are given: they keep it themselves, automatic differentiation does not see it."""
    checkpoint = transformer.checkpoint
    holders: list[Holder] = []

    def counting(layer: Any, *inputs: Any, **options: Any) -> Any:
        holders.extend(kept.add(tensor) for tensor in inputs if torch.is_tensor(tensor))
        return checkpoint(layer, *inputs, **options)

    with patch.object(transformer, "checkpoint", counting):
        yield
    holders.clear()


def kept_bytes(
    losses: Callable[[Any], dict[str, Tensor]], sample: Any, parameters: Iterator[Tensor], device: str, bf16: bool
) -> int:
    """Bytes that ``losses(sample)["loss"]`` keeps for its backward pass, without ``parameters``."""
    kept = Kept(parameters)
    hooks = torch.autograd.graph.saved_tensors_hooks(kept.add, lambda holder: holder.tensor)
    with hooks, counted_checkpoints(kept), torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
        value = losses(sample)["loss"]
        total = kept.total
    del value  # until here it keeps them alive
    return total


def run(options: Options) -> Outcome:
    """See the module's docstring."""
    torch.manual_seed(0)
    system = systems.find(options.model)
    model = system.build_model(tiny=options.quick, device=options.device)
    criterion, naive = system.build_criterion(), system.naive(model)
    saving = training.twin(model, **{training.CHECKPOINTING: True})
    ways: dict[str, tuple[Callable[[Any], dict[str, Tensor]], bool]] = {
        "naive fp32": (naive, False),
        "naive bf16": (naive, True),
        "ours fp32": (lambda sample: training.our_losses(model, criterion, sample), False),
        "ours bf16": (lambda sample: training.our_losses(model, criterion, sample), True),
        "ours bf16, checkpointing": (lambda sample: training.our_losses(saving, criterion, sample), True),
    }
    length = 12 if options.quick else 48
    samples = [system.synthetic_batch(model, rows, length, options.device) for rows in ROWS]
    *terms, _ = check_losses(system, model, criterion, samples[0])
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    a_pair, at_batch = {}, {}
    for name, (losses, bf16) in ways.items():
        with nullcontext() if options.on_gpu else gpu_paths():
            few, more = (kept_bytes(losses, sample, model.parameters(), options.device, bf16) for sample in samples)
        a_pair[name] = (more - few) / (ROWS[1] - ROWS[0])
        fixed = max(few - ROWS[0] * a_pair[name], 0.0)
        at_batch[name] = STATIC_BYTES * n_parameters + fixed + BATCH * a_pair[name]
    ratios: list[Figure] = []
    for name in ways:
        if name.startswith("ours"):
            for against in ("naive fp32", "naive bf16"):
                ratios.append(figure_of(f"a pair: {against} / {name}", a_pair[against] / a_pair[name], "x", HIGHER))
    figures = [figure_of(f"{name}, a pair", a_pair[name] / 1e6, "MB", LOWER) for name in ways]
    figures += [figure_of(f"{name}, by arithmetic at {BATCH}", at_batch[name] / 1e9, "GB", LOWER) for name in ways]
    for what, values, name in (("a pair", a_pair, "ours fp32"), (f"by arithmetic at {BATCH}", at_batch, "ours bf16")):
        figures.append(figure_of(f"{name} / naive fp32, {what}", 100 * values[name] / values["naive fp32"], "%", LOWER))
    checks = [f"losses equal to {TOLERANCE:g} without dropout: {', '.join(terms)}"]
    settings = {"quick": options.quick, "length": length, "device": options.device}
    return Outcome(ratios, figures, checks, [], settings)
