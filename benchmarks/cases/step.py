"""One training step at the paper's sizes: forward, backward, optimiser; ours against the naive way through the same weights.

Naive is what the authors' release does (``benchmarks/systems/SYSTEM/naive.py`` says what that is), in float32; its optimiser is
the host's Adam with a loop over parameters. Before timing, dropout is switched off and both must give the same losses, to 1e-4.

On a CPU: 8 pairs, 48 tokens, float32. On a GPU: 128 and 512 pairs, bf16 autocast, against naive in float32 and in bf16
autocast; --compile adds our model through torch.compile. --full adds variants of the naive way in which one thing each is done
our way. Losses of ours that the naive way has none of run beside the others (``ours, FORM``). Weights and optimiser states are
shared by all contestants, so that ``peak`` differs by what each needs for itself.

Physical limit: the operations the mathematics needs, where the system has them counted, at the measured speed of large matrix
products, ``FLOPs utilisation``. The optimiser is bound by memory instead: it reads and writes all weights and their moments.
``waits for the device`` counts operations that stop the host until a GPU has answered.
"""

from __future__ import annotations

from typing import Any, Callable

import torch

from benchmarks import systems
from benchmarks.harness import training
from benchmarks.harness.limits import matmul_rate
from benchmarks.harness.memory import read_memory, reset_peak
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import Figure, Outcome
from benchmarks.harness.profiling import write_profile
from benchmarks.harness.system import BenchmarkedSystem
from benchmarks.harness.timing import Race, figure_of, race
from benchmarks.harness.waits import WaitCounter

TOLERANCE = 1e-4


def check_losses(
    system: BenchmarkedSystem, model: Any, criterion: Any, sample: dict[str, Any], tolerance: float = TOLERANCE
) -> dict[str, float]:
    """Assert that both ways give the same losses without dropout; return ours, ``loss`` last.

    Raises:
        AssertionError: a loss differs by more than ``tolerance``.
    """
    model.eval()
    try:
        with torch.no_grad():
            ours = {name: float(value) for name, value in training.our_losses(model, criterion, sample).items()}
            for variant in (None, *system.variants):
                naive = system.naive(model, variant, dropout=False)(sample)
                for name, value in ours.items():
                    if abs(float(naive[name]) - value) > tolerance:
                        raise AssertionError(f"loss {name}: ours {value:.6f}, naive {float(naive[name]):.6f} ({variant})")
    finally:
        model.train()
    return ours


def run(options: Options) -> Outcome:
    """See the module's docstring."""
    torch.manual_seed(0)
    system = systems.find(options.model)
    model = system.build_model(tiny=options.quick, device=options.device)
    criterion = system.build_criterion()
    settings = training.optimiser_settings(system.configuration)
    optimisers = {"ours": training.build_optimiser(model.parameters(), settings)}
    optimisers["naive"] = optimisers["ours"]
    if settings["_name"] != "adam":
        optimisers["naive"] = training.build_optimiser(model.parameters(), {**settings, "_name": "adam"})
    length = 12 if options.quick else 48
    *terms, loss = check_losses(system, model, criterion, system.synthetic_batch(model, 4, length, options.device)).items()
    names = ", ".join(name for name, _ in terms)
    outcome = Outcome(
        checks=[f"losses equal to {TOLERANCE:g} without dropout: {names} (loss {loss[1]:.4f} per pair)"],
        settings={"quick": options.quick, "length": length, "device": options.device},
    )
    dtype = torch.bfloat16 if options.on_gpu else torch.float32
    size = 8192 if options.on_gpu else 256 if options.quick else 2048
    limit = matmul_rate(options.device, dtype, size)
    for rows in (4,) if options.quick else (128, 512) if options.on_gpu else (8,):
        sample = system.synthetic_batch(model, rows, length, options.device)
        steps = contestants(system, model, criterion, sample, optimisers, options)
        for name in ("naive", "ours"):
            waits = WaitCounter.count(steps[f"{name} bf16" if options.on_gpu else name])
            outcome.figures.append(figure_of(f"waits for the device, {name} at {rows}", waits, "a step", "lower"))
        timed = race(steps, options.choose_rounds(20 if options.on_gpu else 3), options.device, 3 if options.on_gpu else 1)
        limit = max(limit, matmul_rate(options.device, dtype, size), key=lambda figure: figure.value)
        add_results(outcome, timed, rows, system.flops_of(model, sample), limit, options)
        if not options.on_gpu:
            outcome.figures += cpu_peaks(steps, rows)
    outcome.figures.insert(0, limit)
    if options.profile is not None:
        compared = ("naive bf16", "ours bf16") if options.on_gpu else ("naive", "ours")
        write_profile(options.profile, {name: steps[name] for name in compared}, model, system.parts, options)
        outcome.notes.append(f"profile of both steps in {options.profile.name}")
    return outcome


def contestants(
    system: BenchmarkedSystem,
    model: Any,
    criterion: Any,
    sample: dict[str, Any],
    optimisers: dict[str, Any],
    options: Options,
) -> dict[str, Callable[[], None]]:
    """Name → training step. Without a GPU names say no precision, all is float32."""

    def ours(module: Any, bf16: bool, criterion: Any = criterion) -> Callable[[], None]:
        loss = lambda: training.our_losses(module, criterion, sample)["loss"]  # noqa: E731
        return training.training_step(loss, optimisers["ours"], options.device, bf16)

    def naive(variant: str | None, bf16: bool) -> Callable[[], None]:
        way = system.naive(model, variant)
        return training.training_step(lambda: way(sample)["loss"], optimisers["naive"], options.device, bf16)

    gpu = options.on_gpu
    suffix = " bf16" if gpu else ""
    steps = {"naive bf16": naive(None, True), "naive fp32": naive(None, False)} if gpu else {"naive": naive(None, False)}
    steps[f"ours{suffix}"] = ours(model, gpu)
    if gpu:
        steps["ours fp32"] = ours(model, False)
    steps.update({f"ours{suffix}, {form}": ours(model, gpu, system.build_criterion(form)) for form in system.forms})
    if hasattr(model.cfg, training.CHECKPOINTING):
        steps[f"ours{suffix}, checkpointing"] = ours(training.twin(model, **{training.CHECKPOINTING: True}), gpu)
    if options.compile:
        steps[f"ours{suffix}, compiled"] = ours(training.compiled_twin(model, "eager" if options.quick else "inductor"), gpu)
    if options.full or options.quick:
        steps.update({f"naive{suffix}, {variant}": naive(variant, gpu) for variant in system.variants})
    return steps


def add_results(outcome: Outcome, timed: Race, rows: int, flops: float | None, limit: Figure, options: Options) -> None:
    """Ratios and figures of one batch size; ``flops``: what the mathematics of a step needs, where that is known."""
    at = f" at {rows}"
    main = "ours bf16" if options.on_gpu else "ours"
    for name in timed.seconds:
        for against in (name for name in ("naive", "naive fp32", "naive bf16") if name in timed.seconds):
            wanted = name.startswith("ours") if options.on_gpu else True
            if name != against and wanted:
                outcome.ratios += timed.ratio(f"{name} / {against}{at}", against, name)
    for name in timed.seconds:
        outcome.figures += timed.rate(name, rows, "pairs/s", f"{name}{at}")
        outcome.figures += timed.time(name, f"{name}{at}, step")
        if flops is not None and name.startswith("ours") and "fp32" not in name:
            share = 100 * flops / timed.seconds[name] / 1e12 / limit.value
            outcome.figures.append(figure_of(f"FLOPs utilisation, {name}{at}", share, "%", "higher"))
    for name, peak in timed.peak_bytes.items():
        outcome.figures.append(figure_of(f"peak, {name}{at}", peak / 1e9, "GB", "lower"))
        for against in ("naive fp32", "naive bf16"):
            if name == main and against in timed.peak_bytes:
                share = 100 * peak / timed.peak_bytes[against]
                outcome.figures.append(figure_of(f"peak, {name} / {against}{at}", share, "%", "lower"))
    outcome.notes += [f"{name}{at}: {reason}" for name, reason in timed.failed.items()]


def cpu_peaks(steps: dict[str, Callable[[], None]], rows: int) -> list[Figure]:
    """Largest resident memory during one step of each contestant, where the system lets it be measured."""
    figures = []
    for name, step in steps.items():
        if reset_peak():
            step()
            figures.append(figure_of(f"peak, {name} at {rows}", read_memory().peak / 1e3, "GB", "lower"))
    return figures
