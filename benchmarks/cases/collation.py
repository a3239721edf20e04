"""Collation of a whole batch: reading, lead mask, swapped reports, word mask; against negatives embedded while collating.

One process, one thread, as in one data-loader worker: 128 pairs, half of which get a negative report. Released code reads a
.mat file per record and, for every swapped row, runs a text encoder of Flan-T5-small's size over the row's report and
searches the embeddings of all unique reports (180,000, 512 wide) for the 64 farthest. Here negatives are found once, before
training, and drawing one is a look-up; the cost of finding them is measured by ``n3s``.

The weights of the small text encoder are random, which does not change its speed. Texts are synthetic reports of about
50 tokens; beyond the first 200 the unique reports repeat them under other embeddings.

Our batch is the one that training collates: ECGs in int16, as they are stored, which the task turns into mV on the device.

Physical limit: reading. ``share of time spent reading`` says how much of a batch's time is the copy of its recordings, which
``record_reading`` compares with the memory's speed.
"""

from __future__ import annotations

import numpy as np

from benchmarks import systems
from benchmarks.harness.options import Options, one_thread
from benchmarks.harness.outcome import Outcome
from benchmarks.harness.timing import figure_of, race


def run(options: Options) -> Outcome:
    """See the module's docstring."""
    n_records, n_reports, batch, encoder = (32, 200, 16, "tiny") if options.quick else (512, 180_000, 128, "small")
    with options.temporary() as folder, one_thread():
        pair = systems.find(options.model).collation(folder, n_records, n_reports, encoder)
        rng = np.random.default_rng(0)
        rows = rng.choice(n_records, batch, replace=False)
        checks = pair.check(rows)
        calls = 1 if options.quick else 8
        # Of the naive way a part of a batch is enough: its cost is per row, and a whole one takes seconds.
        part = rows[: max(2, batch // 16)]

        def ours() -> None:
            for _ in range(calls):
                pair.ours(rows)

        ecg = pair.dataset.read_ecg(rows, digital=True)

        def ours_without_reading() -> None:
            pair.dataset.read_ecg = lambda rows, digital: ecg
            try:
                ours()
            finally:
                del pair.dataset.read_ecg

        contestants = {
            "ours": ours,
            "ours without reading": ours_without_reading,
            "released way": lambda: pair.naive(part, rng),
        }
        timed = race(contestants, options.choose_rounds(5))
    pairs = {"ours": calls * batch, "ours without reading": calls * batch, "released way": len(part)}
    seconds = {name: timed.seconds[name] / pairs[name] for name in contestants}
    share = 1 - seconds["ours without reading"] / seconds["ours"]
    return Outcome(
        ratios=[
            figure_of("ours / released way", seconds["released way"] / seconds["ours"], "x", "higher"),
        ],
        figures=[
            figure_of("ours", 1 / seconds["ours"], "pairs/s", "higher"),
            figure_of("ours without reading", 1 / seconds["ours without reading"], "pairs/s", "higher"),
            figure_of("released way", 1 / seconds["released way"], "pairs/s"),
            figure_of("share of time spent reading", 100 * share, "%"),
        ],
        checks=checks,
        notes=[f"released way: {len(part)} rows at a time, encoder of size {encoder}, {n_reports:,} unique reports"],
        settings={"records": n_records, "reports": n_reports, "batch": batch, "encoder": encoder},
    )
