"""One training step at the paper's sizes: forward, backward, optimiser; ours against the naive way through the same weights.

Naive (:mod:`benchmarks.systems.cmelt.naive`) is what the authors' release does: kept ECG tokens through the encoder, as ours;
attention matrices of text encoder and fusion written out, T5's GELU in six operations, vocabulary logits at every word, every
logged number read from the device by itself, padded words computed like others, float32. The release has no training loop;
its optimiser here is the host's Adam with a loop over parameters. Before timing, dropout is switched off and both must give
the same four losses, to 1e-4.

On a CPU: 8 pairs, 48 tokens, float32. On a GPU: 128 and 512 pairs, bf16 autocast, against naive in float32 and in bf16
autocast; --compile adds our model through torch.compile. --full adds variants of the naive way in which one thing each is done
our way. Weights and optimiser states are shared by all contestants, so that ``peak`` differs by what each needs for itself.

Physical limit: the operations the mathematics needs (:mod:`benchmarks.systems.cmelt.flops`) at the measured speed of large
matrix products, ``FLOPs utilisation``. The optimiser is bound by memory instead: it reads and writes 321 million weights and
their moments.
``waits for the device`` counts operations that stop the host until a GPU has answered.
"""

from __future__ import annotations

from typing import Any, Callable

import torch

from benchmarks.harness import models
from benchmarks.harness.limits import matmul_rate
from benchmarks.harness.memory import read_memory, reset_peak
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import Figure, Outcome
from benchmarks.harness.profiling import write_profile
from benchmarks.harness.timing import Race, figure_of, race
from benchmarks.harness.waits import WaitCounter
from benchmarks.naive.attention import Mode
from benchmarks.systems.cmelt.flops import training_flops
from benchmarks.systems.cmelt.naive import NaiveCMELT
from cmelt_plugin.modules.real_tokens import RealTokens

TOLERANCE = 1e-4
VARIANTS = {
    "masked vocabulary": Mode(full_vocabulary=False),
    "fused attention": Mode(eager=False),
}


def check_losses(model: Any, criterion: Any, sample: dict[str, Any], tolerance: float = TOLERANCE) -> dict[str, float]:
    """Assert that both ways give the same losses without dropout; return ours.

    Raises:
        AssertionError: a loss differs by more than ``tolerance``.
    """
    model.eval()
    try:
        with torch.no_grad():
            ours = {name: float(value) for name, value in models.our_losses(model, criterion, sample).items()}
            for mode in (Mode(), *VARIANTS.values()):
                naive = NaiveCMELT(model, mode._replace(dropout=False)).losses(sample)
                for name, value in ours.items():
                    if abs(float(naive[name]) - value) > tolerance:
                        raise AssertionError(f"loss {name}: ours {value:.6f}, naive {float(naive[name]):.6f} ({mode})")
    finally:
        model.train()
    return ours


def run(options: Options) -> Outcome:
    """See the module's docstring."""
    torch.manual_seed(0)
    model = models.build_model(tiny=options.quick, device=options.device)
    criterion = models.build_criterion()
    settings = models.optimiser_settings()
    optimisers = {"ours": models.build_optimiser(model.parameters(), settings)}
    optimisers["naive"] = optimisers["ours"]
    if settings["_name"] != "adam":
        optimisers["naive"] = models.build_optimiser(model.parameters(), {**settings, "_name": "adam"})
    small = models.synthetic_batch(model, 4, 12 if options.quick else 48, options.device)
    losses = check_losses(model, criterion, small)
    outcome = Outcome(
        checks=[f"four losses equal to {TOLERANCE:g} without dropout (loss {losses['loss']:.4f} per pair)"],
        settings={"quick": options.quick, "length": 12 if options.quick else 48, "device": options.device},
    )
    dtype = torch.bfloat16 if options.on_gpu else torch.float32
    size = 8192 if options.on_gpu else 256 if options.quick else 2048
    limit = matmul_rate(options.device, dtype, size)
    for rows in (4,) if options.quick else (128, 512) if options.on_gpu else (8,):
        sample = models.synthetic_batch(model, rows, outcome.settings["length"], options.device)
        steps = contestants(model, criterion, sample, optimisers, options)
        for name in ("naive", "ours"):
            waits = WaitCounter.count(steps[f"{name} bf16" if options.on_gpu else name])
            outcome.figures.append(figure_of(f"waits for the device, {name} at {rows}", waits, "a step", "lower"))
        timed = race(steps, options.choose_rounds(20 if options.on_gpu else 3), options.device, 3 if options.on_gpu else 1)
        limit = max(limit, matmul_rate(options.device, dtype, size), key=lambda figure: figure.value)
        add_results(outcome, timed, model, sample, limit, options)
        if not options.on_gpu:
            outcome.figures += cpu_peaks(steps, rows)
    outcome.figures.insert(0, limit)
    if options.profile is not None:
        compared = ("naive bf16", "ours bf16") if options.on_gpu else ("naive", "ours")
        write_profile(options.profile, {name: steps[name] for name in compared}, model, options)
        outcome.notes.append(f"profile of both steps in {options.profile.name}")
    return outcome


def contestants(
    model: Any, criterion: Any, sample: dict[str, Any], optimisers: dict[str, Any], options: Options
) -> dict[str, Callable[[], None]]:
    """Name → training step. Without a GPU names say no precision, all is float32."""

    def ours(module: Any, bf16: bool) -> Callable[[], None]:
        loss = lambda: models.our_losses(module, criterion, sample)["loss"]  # noqa: E731
        return models.training_step(loss, optimisers["ours"], options.device, bf16)

    def naive(mode: Mode, bf16: bool) -> Callable[[], None]:
        way = NaiveCMELT(model, mode)
        return models.training_step(lambda: way.losses(sample)["loss"], optimisers["naive"], options.device, bf16)

    gpu = options.on_gpu
    suffix = " bf16" if gpu else ""
    steps = {"naive bf16": naive(Mode(), True), "naive fp32": naive(Mode(), False)} if gpu else {"naive": naive(Mode(), False)}
    steps[f"ours{suffix}"] = ours(model, gpu)
    if gpu:
        steps["ours fp32"] = ours(model, False)
    if hasattr(model.cfg, models.CHECKPOINTING):
        steps[f"ours{suffix}, checkpointing"] = ours(models.twin(model, **{models.CHECKPOINTING: True}), gpu)
    if options.compile:
        steps[f"ours{suffix}, compiled"] = ours(models.compiled_twin(model, "eager" if options.quick else "inductor"), gpu)
    if options.full or options.quick:
        steps.update({f"naive{suffix}, {name}": naive(mode, gpu) for name, mode in VARIANTS.items()})
    return steps


def add_results(outcome: Outcome, timed: Race, model: Any, sample: dict[str, Any], limit: Figure, options: Options) -> None:
    """Ratios and figures of one batch size."""
    rows, length = sample["net_input"]["text"].shape
    padding_mask = sample["net_input"]["text_padding_mask"]
    real = RealTokens.of(padding_mask, model.cfg.fusion_dim)
    n_real = None if real is None else len(real.rows)
    flops = training_flops(model.cfg, rows, length, len(sample["mlm_target"]), n_real)
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
        if name.startswith("ours") and "fp32" not in name:
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
