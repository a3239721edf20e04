"""Linear probes: 17,084 × 768 features, 200 epochs, 3 fractions × 5 seeds, the best epoch by validation AUC.

``ours`` trains what ``python -m cmelt_plugin.evaluation.linear_probe`` trains once features are there: 15 probes, those of a
fraction side by side. ``one by one`` trains one after the other through a data loader, as probing scripts do; it is timed for a
few epochs and compared per epoch and probe. From the same order and initial weights both must give the same weights.

Physical limit: reading 128 rows of 768 features per step and probe from memory, 0.4 MB.
"""

from __future__ import annotations

import contextlib
import io
import time

import numpy as np
import torch

from benchmarks.harness.options import Options
from benchmarks.harness.outcome import LOWER, NotMeasured, Outcome
from benchmarks.harness.timing import figure_of, race
from benchmarks.naive.probe import train as train_alone

FRACTIONS = (0.01, 0.1, 1.0)
SEEDS = 5
N_CLASSES = 5


def run(options: Options) -> Outcome:
    """See the module's docstring."""
    try:
        from cmelt_plugin.evaluation.linear_probe.runs import train_parts
        from cmelt_plugin.evaluation.linear_probe.train import ProbeSettings, seeded_run, train_probes
        from cmelt_plugin.evaluation.low_data import subset_rows
    except ImportError as error:
        raise NotMeasured(f"the linear probe is not there: {error}") from None

    n, width, n_valid, epochs = (600, 16, 100, 3) if options.quick else (17_084, 768, 2_146, 200)
    features, labels = made_up(n, width, 0)
    valid = made_up(n_valid, width, 1)
    short = ProbeSettings(epochs=2)
    runs = [seeded_run(np.arange(n), N_CLASSES, width, seed) for seed in range(SEEDS)]
    orders = [[run.batches(epoch) for epoch in (1, 2)] for run in runs]

    last = train_probes(features, labels, runs, ProbeSettings(epochs=2, select="last"))
    weight, bias, aucs = train_alone(features, labels, orders[1], runs[1].weight0, runs[1].bias0, valid)
    np.testing.assert_allclose(last[1].weight, weight, atol=1e-5)
    np.testing.assert_allclose(last[1].bias, bias, atol=1e-5)
    chosen = train_probes(features, labels, runs, short, valid)
    np.testing.assert_allclose(chosen[1].valid_auc, aucs, atol=1e-6)

    contestants = {
        "ours": lambda: train_probes(features, labels, runs, short, valid),
        "one by one": lambda: train_alone(features, labels, orders[0], runs[0].weight0, runs[0].bias0, valid),
    }
    timed = race(contestants, options.choose_rounds(5))
    per_probe = {"ours": timed.seconds["ours"] / SEEDS, "one by one": timed.seconds["one by one"]}

    start = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):
        for fraction in FRACTIONS:
            parts = [subset_rows(labels, fraction, "merl", 42 + seed) for seed in range(SEEDS)]
            train_parts("", features, labels, parts, ProbeSettings(epochs=epochs), valid, 0)
    whole = time.perf_counter() - start
    name = f"{len(FRACTIONS)} fractions × {SEEDS} seeds × {epochs} epochs"
    return Outcome(
        ratios=[figure_of("ours / one by one", per_probe["one by one"] / per_probe["ours"], "x", "higher")],
        figures=[
            figure_of(name, whole, "s", LOWER),
            figure_of("ours, one epoch of one probe", per_probe["ours"] / 2 * 1e3, "ms", LOWER),
            figure_of("one by one, one epoch of one probe", per_probe["one by one"] / 2 * 1e3, "ms", LOWER),
        ],
        checks=["same weights and validation AUC as one by one, to 1e-5 and 1e-6"],
        notes=["the probe is trained on the CPU on every machine"] if options.on_gpu else [],
        settings={"records": n, "width": width, "classes": N_CLASSES, "epochs": epochs, "threads": torch.get_num_threads()},
    )


def made_up(n: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 ``[n, width]`` from which labels float32 ``[n, 5]`` can be told in part."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, width), dtype=np.float32)
    direction = np.random.default_rng(99).standard_normal((width, N_CLASSES)) / np.sqrt(width)
    labels = features @ direction + 0.5 * rng.standard_normal((n, N_CLASSES)) > 0.7
    return features, labels.astype(np.float32)
