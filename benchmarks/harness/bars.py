"""What is to be reached, and by which figure of which benchmark it is judged."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.harness.outcome import Figure, Outcome

AT_LEAST, AT_MOST = "≥", "≤"


class Bar(NamedTuple):
    """One demand.

    Attributes:
        what: part of the software.
        measured_as: what the figure is.
        benchmark: name.
        figures: names of figures that can meet it; the best one that was measured counts.
        sign: :data:`AT_LEAST` or :data:`AT_MOST`.
        limit: in ``unit``.
        unit: ``x`` for ratios.
        on_gpu: judged by a run with ``--device cuda``.
    """

    what: str
    measured_as: str
    benchmark: str
    figures: tuple[str, ...]
    sign: str
    limit: float
    unit: str
    on_gpu: bool = False

    def figure(self, outcome: Outcome) -> Figure | None:
        """The best of its figures; None where none was measured."""
        found = [figure for figure in map(outcome.find, self.figures) if figure is not None]
        pick = max if self.sign == AT_LEAST else min
        return pick(found, key=lambda figure: figure.value) if found else None

    def reached(self, figure: Figure) -> bool:
        """Whether a figure meets the demand."""
        return figure.value >= self.limit if self.sign == AT_LEAST else figure.value <= self.limit

    def text(self) -> str:
        """Sign, number and unit."""
        return f"{self.sign} {self.limit:,g} {'×' if self.unit == 'x' else self.unit}"


def _step(rows: int) -> list[Bar]:
    """Demands on a training step on a GPU."""
    what = f"step, GPU, {rows} pairs"
    names = ("ours bf16", "ours bf16, compiled")
    over_fp32, over_bf16 = (tuple(f"{name} / naive {kind} at {rows}" for name in names) for kind in ("fp32", "bf16"))
    utilisation, rate = (tuple(f"{before}{name} at {rows}" for name in names) for before in ("FLOPs utilisation, ", ""))
    return [
        Bar(what, "pairs/s over naive fp32", "step", over_fp32, AT_LEAST, 3, "x", True),
        Bar(what, "pairs/s over naive bf16", "step", over_bf16, AT_LEAST, 1.8, "x", True),
        Bar(what, "FLOPs utilisation", "step", utilisation, AT_LEAST, 40, "%", True),
        Bar(what, "pairs per second", "step", rate, AT_LEAST, 4000, "pairs/s", True),
    ]


BARS = (
    Bar("record reading", "packed over one .mat per record", "record_reading", ("packed / mat",), AT_LEAST, 8, "x"),
    Bar("record reading", "packed over a NumPy gather to mV", "record_reading", ("packed / gather to mV",), AT_LEAST, 0.7, "x"),
    Bar("record reading", "int16 over a bare NumPy gather", "record_reading", ("packed int16 / gather",), AT_LEAST, 0.7, "x"),
    Bar("collation", "over negatives embedded while collating", "collation", ("ours / released way",), AT_LEAST, 100, "x"),
    Bar("collation", "pairs per second and core", "collation", ("ours",), AT_LEAST, 4000, "pairs/s"),
    Bar("start-up", "data set over 10 million records", "startup", ("loading",), AT_MOST, 10, "s"),
    Bar("start-up", "resident above the interpreter", "startup", ("resident",), AT_MOST, 300, "MB"),
    Bar(
        "step, CPU",
        "8 pairs of 48 tokens, over naive",
        "step",
        ("ours / naive at 8", "ours, compiled / naive at 8"),
        AT_LEAST,
        1.4,
        "x",
    ),
    Bar("N3S", "exact, 180,000 × 512, k = 64", "n3s", ("farthest, 180,000 reports",), AT_MOST, 600, "s"),
    Bar("N3S", "memory above the embeddings", "n3s", ("farthest, peak for 180,000 reports",), AT_MOST, 2000, "MB"),
    Bar("N3S", "time of balanced over farthest", "n3s", ("balanced / farthest, time at 180,000",), AT_MOST, 2, "x"),
    Bar("preprocessing", "WFDB to store over bare wfdb", "preprocessing", ("ours / bare",), AT_LEAST, 0.8, "x"),
    Bar("preprocessing", "gain of --jobs, of linear", "preprocessing", ("--jobs, share of linear",), AT_LEAST, 90, "%"),
    Bar(
        *("linear probe", "17,084 × 768, 200 epochs, 15 probes", "linear_probe"),
        *(("3 fractions × 5 seeds × 200 epochs",), AT_MOST, 180, "s"),
    ),
    Bar(
        *("cached reports", "step over encoding 256 tokens", "cached_reports"),
        *(("256 tokens: cached / encoded",), AT_LEAST, 3, "x"),
    ),
    Bar(
        *("step, MELP, CPU", "8 pairs of 48 tokens, over naive", "step --model melp"),
        *(("ours / naive at 8", "ours, compiled / naive at 8"), AT_LEAST, 1.6, "x"),
    ),
    Bar(
        *("memory, MELP", "kept for the backward pass, of naive", "activation_memory --model melp"),
        *(("ours fp32 / naive fp32, a pair",), AT_MOST, 60, "%"),
    ),
    Bar(
        *("local loss, MELP", "64 pairs, forward and backward, over a loop over reports", "local_loss"),
        *(("ours / loop at 64",), AT_LEAST, 20, "x"),
    ),
    Bar(
        *("student, EchoingECG", "8 records to Gaussians, over the bare network", "student"),
        *(("student / bare network at 8",), AT_LEAST, 0.9, "x"),
    ),
    Bar(
        *("match loss, EchoingECG", "8,192 × 8,192 pairs, forward and backward, memory above", "match_loss"),
        *(("512 rows, peak above",), AT_MOST, 1000, "MB"),
    ),
    Bar(
        *("generation", "8 reports of 64 tokens, over reading all anew", "generation"),
        *(("cached / without cache",), AT_LEAST, 5, "x"),
    ),
    Bar("evaluation", "ECG encoder passes a record", "evaluation", ("encoder passes a record",), AT_MOST, 1, "x"),
    Bar("evaluation", "text encoder passes a class text", "evaluation", ("encoder passes a class text",), AT_MOST, 1, "x"),
    *_step(128),
    *_step(512),
    Bar(
        *("memory, GPU", "peak at 128 pairs over naive fp32", "step"),
        *(("peak, ours bf16 / naive fp32 at 128",), AT_MOST, 60, "%", True),
    ),
    Bar("end to end, GPU", "GPU busy", "end_to_end", ("GPU busy",), AT_LEAST, 90, "%", True),
    Bar("end to end, GPU", "300,000 updates of 128 pairs", "end_to_end", ("300,000 updates",), AT_MOST, 4, "h", True),
    Bar(
        *("N3S, GPU", "exact, 180,000 × 512, k = 64", "n3s"),
        *(("farthest, 180,000 reports",), AT_MOST, 60, "s", True),
    ),
    Bar("evaluation, GPU", "GPU busy, 22,000 records", "evaluation", ("GPU busy",), AT_LEAST, 80, "%", True),
)
