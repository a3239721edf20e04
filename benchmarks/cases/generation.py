"""Writing reports of recordings: keys and values of what was read are kept, against reading everything anew for each token.

Measured is a system whose model writes reports (``generate``), the first there is unless --model names one, at the paper's
sizes: 8 recordings, 64 tokens each, the likeliest one at each place, recordings encoded among it. Weights are random, which
changes nothing of the speed. Both must write the same texts.

Physical limit: with the cache every token reads all weights of text encoder and captioner once, 0.7 GB for MELP, whatever the
number of recordings; without it the mathematics of all tokens before is done again.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from benchmarks import systems
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import Outcome
from benchmarks.harness.system import BenchmarkedSystem
from benchmarks.harness.timing import figure_of, race
from cmelt_plugin.data.store.record_store import ROW_SHAPE

WAYS = {"without cache": False, "cached": True}


def measured_system(name: str | None) -> BenchmarkedSystem:
    """The system of that name; None: the first one whose model writes reports.

    Raises:
        NotMeasured: it does not.
    """

    def writes(system: BenchmarkedSystem) -> bool:
        return hasattr(system.registered.model_class(), "generate")

    return systems.first(name, writes, "model that writes reports")


def write_reports(model: Any, ecg: torch.Tensor, max_tokens: int, use_cache: bool) -> list[list[int]]:
    """Token ids of each recording's report."""
    return model.generate(ecg, max_tokens=max_tokens, use_cache=use_cache)


def run(options: Options) -> Outcome:
    """See the module's docstring."""
    rows, max_tokens = (2, 5) if options.quick else (8, 64)
    system = measured_system(options.model)
    model = system.build_model(tiny=options.quick, device=options.device).eval()
    ecg = torch.randn(rows, *ROW_SHAPE, generator=torch.Generator().manual_seed(0)).to(options.device)
    ways = {name: functools.partial(write_reports, model, ecg, max_tokens, use_cache) for name, use_cache in WAYS.items()}
    texts = {name: way() for name, way in ways.items()}
    if texts["cached"] != texts["without cache"]:
        raise AssertionError("other texts with a cache than without it")
    n_tokens = sum(map(len, texts["cached"]))
    timed = race(ways, options.choose_rounds(3), options.device, 0)
    return Outcome(
        ratios=timed.ratio("cached / without cache", "without cache", "cached"),
        figures=[
            *(figure for name in ways for figure in timed.time(name)),
            *(figure for name in ways for figure in timed.rate(name, n_tokens, "tokens/s", f"{name}, tokens")),
            figure_of("tokens a report", n_tokens / rows, "tokens"),
        ],
        checks=["the same texts"],
        settings={"system": system.name, "rows": rows, "tokens": max_tokens, "device": options.device},
    )
