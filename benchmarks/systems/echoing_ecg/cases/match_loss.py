"""EchoingECG's match loss of 8,192 ECGs with 8,192 echocardiograms, some rows at a time, against the whole matrix at once.

512 numbers a Gaussian, one direction, forward and backward pass, float32; each way in a fresh process, of which the memory
before is subtracted: ``above`` is what distances, targets, losses and gradients take. ``criterion.chunk`` sets the rows. Both
ways must give the same loss, to 1e-5 of it.

Physical limit: the gradients of means and log-variances, four arrays of 8,192 × 512 numbers, 67 MB.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from benchmarks.harness.memory import read_memory, reset_peak, run_fresh
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import LOWER, NotMeasured, Outcome
from benchmarks.harness.timing import figure_of
from cmelt_plugin.losses.pcmepp import Gaussian, match_loss_in_rows

DIM = 512
CHUNK = 512
TOLERANCE = 1e-5


def run(options: Options) -> Outcome:
    """See the module's docstring."""
    pairs, chunk = (64, 16) if options.quick else (8192, CHUNK)
    rounds = options.choose_rounds(3)
    ways = {"whole": 0, f"{chunk} rows": chunk}
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, rows in ways.items():
            answers[name].append(run_fresh(__name__, {"pairs": pairs, "chunk": rows, "device": options.device}))
    losses = [answer["loss"] for of_way in answers.values() for answer in of_way]
    if max(losses) - min(losses) > TOLERANCE * max(losses):
        raise AssertionError(f"losses from {min(losses)} to {max(losses)}")
    if not all(answer["counted"] for of_way in answers.values() for answer in of_way):
        raise NotMeasured("this system does not let a process begin its peak of memory anew")
    whole, parts = answers.values()
    return Outcome(
        ratios=[
            figure_of("chunks / whole, speed", [a["seconds"] / b["seconds"] for a, b in zip(whole, parts)], "x", "higher"),
        ],
        figures=[
            figure_of(f"{name}, {what}", [answer[key] for answer in of_way], unit, LOWER)
            for name, of_way in answers.items()
            for what, key, unit in (("peak above", "above", "MB"), ("time", "seconds", "s"))
        ],
        checks=[f"the same loss, {losses[0] / pairs:.4f} an ECG"],
        settings={"pairs": pairs, "chunk": chunk, "dim": DIM, "device": options.device},
    )


def fresh(pairs: int, chunk: int, device: str) -> dict[str, Any]:
    """One way in a process of its own: loss, seconds, and megabytes above those that were there before."""
    match(draw_gaussians(8, device), 4)  # what libraries take once
    sides = draw_gaussians(pairs, device)
    can_count = reset_peak()
    before, start = read_memory(), time.perf_counter()
    loss = match(sides, chunk)
    seconds = time.perf_counter() - start
    return {"loss": loss, "seconds": seconds, "above": read_memory().peak - before.resident, "counted": can_count}


def draw_gaussians(pairs: int, device: str) -> list[Gaussian]:
    """ECGs and echocardiograms, with gradients."""
    generator = torch.Generator().manual_seed(0)
    means = [functional.normalize(torch.randn(pairs, DIM, generator=generator)).to(device).requires_grad_() for _ in range(2)]
    return [(mean, torch.full_like(mean, -7.6, requires_grad=True)) for mean in means]


def match(sides: Sequence[Gaussian], chunk: int) -> float:
    """The loss of one direction and its gradients, every row's own column a positive."""
    key = torch.arange(len(sides[0][0]), device=sides[0][0].device)
    scale, shift = (torch.tensor(5.0, device=key.device, requires_grad=True) for _ in range(2))
    loss, _ = match_loss_in_rows(*sides, key, key, key, torch.ones_like(key), scale, shift, chunk=chunk)
    loss.backward()
    return float(loss.detach())
