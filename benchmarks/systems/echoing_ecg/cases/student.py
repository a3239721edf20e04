"""EchoingECG's student from millivolts to a Gaussian, against its bare residual network.

Both evaluate: records of 10 s, float32, no gradients. ``student`` does all that is done for an answer: band-pass and resampling
from 500 to 100 Hz, lead statistics, the network, and both heads with their pooling. ``bare network`` is the network alone on
signals that are filtered already; the sizes are those of the reference, 126.6 million parameters. Before timing, the heads on
the bare network's states must give the student's Gaussian, to 1e-5.

Physical limit: the bare network.
"""

from __future__ import annotations

import json
from typing import Callable

import torch

from benchmarks import systems
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import Outcome
from benchmarks.harness.timing import race
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import ROW_SHAPE

TOLERANCE = 1e-5
STATISTICS = json.dumps([[0.0] * len(LEADS), [0.2] * len(LEADS)])


@torch.no_grad()
def run(options: Options) -> Outcome:
    """See the module's docstring."""
    rows = 2 if options.quick else 64 if options.on_gpu else 8
    system = systems.find("echoing_ecg")
    text = system.settings(tiny=True)["text_encoder_config"]  # which is not measured
    model = system.build_model(options.quick, options.device, lead_statistics=STATISTICS, text_encoder_config=text).eval()
    tower = model.ecg_tower
    ecg = torch.randn(rows, *ROW_SHAPE, generator=torch.Generator().manual_seed(0)).to(options.device)
    filtered, _ = tower.front_end(ecg)

    expected, states = model.embed_ecg(ecg), tower.encoder.states(filtered)
    for whole, head in ((expected.mean, tower.mean), (expected.log_variance, model.ecg_log_variance)):
        torch.testing.assert_close(head(*states), whole, rtol=0, atol=TOLERANCE)

    contestants: dict[str, Callable[[], object]] = {
        "bare network": lambda: tower.encoder.states(filtered),
        "student": lambda: model.embed_ecg(ecg),
        "filter": lambda: tower.front_end(ecg),
    }
    timed = race(contestants, options.choose_rounds(10), options.device)
    return Outcome(
        ratios=timed.ratio(f"student / bare network at {rows}", "bare network", "student"),
        figures=[figure for name in contestants for figure in timed.rate(name, rows, "records/s", f"{name} at {rows}")],
        checks=[f"heads on the bare network's states give the student's Gaussian, to {TOLERANCE:g}"],
        settings={"rows": rows, "quick": options.quick, "device": options.device},
    )
