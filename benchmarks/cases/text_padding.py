"""Padding among text tokens: batches of random records against ``task.group_by_length``; nothing is timed.

Both are made by the data set and its collater over one epoch of 128 pairs a batch. Reports are those of the synthetic cohort,
tokens those of a small tokenizer trained on them; Flan-T5's own makes two to three times as many. With the folder named by
CMELT_REAL_DATA (``ptb-xl/`` in it) real PTB-XL reports too, 16 pairs a batch where there are only 500. Negatives are random.

Operations are those of a training step at the paper's sizes. ``longest of 8 ranks`` is
the text length of the slowest of eight processes, which the others wait for; ``padded to 8`` is what ``task.pad_text_to=8``
makes of the batches, each length of which ``model.compile`` compiles for itself. What grouping costs stands beside it:
``foreign texts that read as the ECG's own`` are pairs the contrastive loss leaves out or, as in the paper,
takes for mismatches.

Physical limit: no padding at all; ``operations a pair: random / no padding`` is what could be gained.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks import systems
from benchmarks.harness import material
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import HIGHER, LOWER, Figure, Outcome
from benchmarks.harness.system import BenchmarkedSystem
from benchmarks.harness.timing import figure_of
from cmelt_plugin.data.batches.pretraining import PretrainingDataset
from cmelt_plugin.data.directory.split_files import write_split
from cmelt_plugin.data.store.record_store import ROW_SHAPE, RecordStore
from cmelt_plugin.data.text.reports import normalise_report

RANKS = 8
STORED = 4
"""Recordings in the store; they are not looked at."""


def synthetic_reports(n: int) -> list[str]:
    """Report of each of ``n`` records of the synthetic cohort."""
    from preprocess.synthetic_ecg.physiology.subjects import draw_cohort, draw_subject
    from preprocess.synthetic_ecg.record import plan_record
    from preprocess.synthetic_ecg.texts.reports import write_report

    subjects = [draw_subject(1, int(subject)) for subject in draw_cohort(1, n, n).subject]
    return [" ".join(write_report(plan_record(1, index, subject))) for index, subject in enumerate(subjects)]


def ptb_xl_reports() -> list[str]:
    """Reports of the PTB-XL records at hand; empty where there are none."""
    from preprocess.ptb_xl import DATABASE, read_database

    root = Path(os.environ.get("CMELT_REAL_DATA", "")) / "ptb-xl"
    return read_database(root)["report"].fillna("").tolist() if (root / DATABASE).is_file() else []


def open_reports(system: BenchmarkedSystem, folder: Path, reports: list[str]) -> PretrainingDataset:
    """A data set of records with these reports, normalised; empty ones are left out."""
    texts: dict[str, int] = {}
    normalised = [text for text in map(normalise_report, reports) if text]
    report_ids = np.array([texts.setdefault(text, len(texts)) for text in normalised])
    n = len(report_ids)
    shard, row = material.write_store(folder, n, stored=STORED)
    ids = pa.array(np.arange(n)).cast(pa.string())
    n_samples = np.full(n, ROW_SHAPE[1])
    write_split(folder, "train", RecordStore(folder).files, shard, row, n_samples, material.meta_table(ids, report_ids, ids))
    tokenizer = material.make_tokenizer(folder / "tokenizer", list(texts))
    tokens = material.tokenise(tokenizer.folder, list(texts))
    dataset = system.dataset(folder, "train", tokens, system.inputs(prepared=False))
    dataset.read_ecg = lambda rows, digital=False: (torch.zeros(len(rows)), None)  # type: ignore[method-assign]
    return dataset


class Epoch:
    """What one epoch's full batches hold.

    Attributes:
        length: padded length of each batch, int ``[batches]``, in the order they are dealt to the ranks.
        tokens, masked: real tokens and masked words of each batch, int ``[batches]``.
        same: per batch the share of pairs of an ECG and another row's text in which that text reads as the ECG's own.
        copies: per batch how often its most frequent text occurs.
    """

    def __init__(self, dataset: PretrainingDataset, size: int, grouped: bool) -> None:
        dataset.options.group_by_length = grouped
        batches = [batch for batch in dataset.batches(size, RANKS) if len(batch) == size]
        told = [self._look(dataset.collater(batch), size) for batch in batches]
        self.length, self.tokens, self.masked, self.same, self.copies, rows = (np.array(values) for values in zip(*told))
        self.size = size
        if len(np.unique(rows)) != rows.size or rows.size != len(dataset) // size * size:
            raise AssertionError("a record is in two batches, or in none")

    @staticmethod
    def _look(batch: dict[str, Any], size: int) -> tuple[Any, ...]:
        if "aligned" in batch and int((~batch["aligned"]).sum()) != size // 2:
            raise AssertionError("half of a batch must be swapped")
        inputs, own = batch["net_input"], batch["report_id"]
        text, masked = batch.get("text_report_id", own), len(batch.get("mlm_target", ()))
        same = own[:, None] == text[None, :]
        same.fill_diagonal_(False)
        copies = int(text.unique(return_counts=True)[1].max())
        share = float(same.sum()) / (size * (size - 1))
        return inputs["text"].shape[1], batch["ntokens"], masked, share, copies, batch["id"].numpy()

    def padding(self, multiple: int = 1) -> float:
        """Share of padding among the text tokens, of batches padded to multiples of ``multiple``."""
        return 1 - self.tokens.sum() / (self.multiples(multiple).sum() * multiple * self.size)

    def multiples(self, of: int) -> np.ndarray:
        """Padded length of each batch in units of ``of`` tokens, rounded up."""
        return -(-self.length // of)

    def operations(self, system: BenchmarkedSystem, cfg: Any, padded: bool = True) -> float:
        """Of a training step at the sizes of ``cfg``, per pair; without padding at the mean length of each batch."""
        lengths = self.length if padded else np.round(self.tokens / self.size).astype(int)
        batches = zip(lengths, self.masked)
        flops = [system.training_flops(cfg, self.size, int(length), int(masked)) for length, masked in batches]
        return float(np.mean(flops)) / self.size

    def slowest_rank(self) -> float:
        """Mean over the updates of the longest text in the ``RANKS`` batches of each; the last may have fewer."""
        return float(np.maximum.reduceat(self.length, np.arange(0, len(self.length), RANKS)).mean())


def compare(name: str, dataset: PretrainingDataset, size: int, system: BenchmarkedSystem) -> tuple[list[Figure], list[Figure]]:
    """Ratios and figures of one set of reports."""
    cfg = system.build_config()
    random, grouped = (Epoch(dataset, size, grouped) for grouped in (False, True))
    padded = random.length.sum() / grouped.length.sum()
    operations = [
        random.operations(system, cfg),
        grouped.operations(system, cfg),
        random.operations(system, cfg, padded=False),
    ]
    ratios = [
        figure_of(f"{name}, text tokens with padding: random / grouped", padded, "x", HIGHER),
        figure_of(f"{name}, operations a pair: random / grouped", operations[0] / operations[1], "x", HIGHER),
        figure_of(f"{name}, operations a pair: random / no padding", operations[0] / operations[2], "x"),
    ]
    figures = []
    for way, epoch, flops in (("random", random, operations[0]), ("grouped", grouped, operations[1])):
        figures += [
            figure_of(f"{name}, {way}: padding among text tokens", 100 * epoch.padding(), "%", LOWER),
            figure_of(f"{name}, {way}: padding among text tokens, padded to 8", 100 * epoch.padding(8), "%", LOWER),
            figure_of(f"{name}, {way}: different lengths, padded to 8", len(np.unique(epoch.multiples(8))), "lengths", LOWER),
            figure_of(f"{name}, {way}: padded length", epoch.length.mean(), "tokens", LOWER),
            figure_of(f"{name}, {way}: longest of {RANKS} ranks", epoch.slowest_rank(), "tokens", LOWER),
            figure_of(f"{name}, {way}: operations a pair", flops / 1e9, "GFLOP", LOWER),
            figure_of(f"{name}, {way}: foreign texts that read as the ECG's own", 100 * epoch.same.mean(), "%", LOWER),
            figure_of(f"{name}, {way}: rows of a batch with the same text, at most", epoch.copies.max(), "rows", LOWER),
        ]
    return ratios, figures


def run(options: Options) -> Outcome:
    """See the module's docstring."""
    n_records, size = (600, 16) if options.quick else (16_384, 128)
    sets = {"synthetic": (synthetic_reports(n_records), size), "PTB-XL": (ptb_xl_reports(), 16)}
    system = systems.find(options.model)
    outcome = Outcome(
        checks=["every record is in one batch, half of each batch is swapped"], settings={"records": n_records, "batch": size}
    )
    for name, (reports, rows) in sets.items():
        if not reports:
            outcome.notes.append(f"{name}: not measured, CMELT_REAL_DATA names no folder with ptb-xl/")
            continue
        with options.temporary() as folder:
            ratios, figures = compare(name, open_reports(system, folder, reports), rows, system)
        outcome.ratios += ratios
        outcome.figures += figures
    return outcome
