"""A training step with a frozen text encoder: reports read from the cache of their embeddings, against encoded anew.

Measured is a system whose batches know ``task.texts=cached``, unless --model names one the first that keeps a vector a report:
32 pairs from stored rows to the update, with a text encoder of its usual size, whose random weights do not change its speed,
and reports of 32, 64 and 256 tokens without padding. On a GPU in bf16 autocast. Before timing, without dropout, both must give
the same losses, to 1e-4.

Physical limit: the step without a text encoder, which reading the cache comes close to: 3 kB a report. Of a system that keeps
the states of its lower layers, 3 kB a token, it is the step without these.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from benchmarks import systems
from benchmarks.harness import material, training
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import Outcome
from benchmarks.harness.system import BenchmarkedSystem
from benchmarks.harness.timing import race
from cmelt_plugin.data.batches.pretraining import PretrainingOptions
from cmelt_plugin.data.directory.split_files import write_split
from cmelt_plugin.data.store.record_store import ROW_SHAPE, RecordStore
from cmelt_plugin.data.text.padding import pad
from cmelt_plugin.data.text.report_embeddings import make_report_embeddings
from cmelt_plugin.data.text.reports import write_reports
from cmelt_plugin.data.text.tokens import TokenTable

LENGTHS = (32, 64, 256)
WAYS = {"encoded": "encode", "cached": "cached"}
TOLERANCE = 1e-4


def measured_system(name: str | None) -> BenchmarkedSystem:
    """The system of that name; None: the first one that keeps a vector a report.

    Raises:
        NotMeasured: it has none.
    """

    def keeps(system: BenchmarkedSystem) -> bool:
        options = {option.name for option in dataclasses.fields(system.registered.inputs_class().Options)}
        return "texts" in options and (name is not None or system.registered.model_class().cached_tokens is None)

    return systems.first(name, keeps, "task.texts=cached, which keeps embeddings of reports")


def run(options: Options) -> Outcome:
    """See the module's docstring."""
    rows = 4 if options.quick else 32
    system = measured_system(options.model)
    model = system.build_model(tiny=options.quick, device=options.device)
    criterion = system.build_criterion()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = training.build_optimiser(trained, training.optimiser_settings(system.configuration))
    outcome = Outcome(settings={"system": system.name, "batch": rows, "quick": options.quick, "device": options.device})
    for length in LENGTHS:
        with options.temporary() as folder:
            tokens = write_directory(folder, rows, length, model.vocab_size)
            write_cache(folder, tokens, model, length, options.device)
            losses = {name: losses_of(system, model, criterion, folder, tokens, texts) for name, texts in WAYS.items()}
            check_losses(model, losses)
            steps = {
                name: training.training_step(lambda way=way: way()["loss"], optimiser, options.device, options.on_gpu)
                for name, way in losses.items()
            }
            timed = race(steps, options.choose_rounds(3), options.device)
        outcome.ratios += timed.ratio(f"{length} tokens: cached / encoded", "encoded", "cached")
        for name in steps:
            outcome.figures += timed.time(name, f"{name}, {length} tokens, step")
    outcome.checks.append(f"losses equal to {TOLERANCE:g} without dropout at every length")
    return outcome


def write_directory(folder: Path, rows: int, length: int, vocab_size: int) -> TokenTable:
    """A manifest directory of as many records as reports, all of ``length`` tokens; returns these."""
    shard, row = material.write_store(folder, rows)
    ids = pa.array(np.arange(rows)).cast(pa.string())
    meta = material.meta_table(ids, np.arange(rows), ids)
    write_split(folder, "train", RecordStore(folder).files, shard, row, np.full(rows, ROW_SHAPE[1]), meta)
    write_reports(folder, material.report_texts(rows), np.ones(rows, dtype=np.int64))
    rng = np.random.default_rng(length)
    return material.random_tokens(np.full(rows, length), vocab_size, rng, folder / "reports.parquet")


def write_cache(folder: Path, tokens: TokenTable, model: Any, length: int, device: str) -> None:
    """The embeddings of all reports or states of their tokens, as preprocess/report_embeddings.py writes them."""

    @torch.inference_mode()
    def embed(texts: Any) -> np.ndarray:
        ids, padding = (torch.from_numpy(array).to(device) for array in pad(texts, tokens.info["pad_id"], length))
        return model.cacheable_text(ids, padding).float().cpu().numpy()

    identity = model.text_fingerprint(), PretrainingOptions().max_text_tokens
    with contextlib.redirect_stderr(io.StringIO()):
        make_report_embeddings(folder, tokens, embed, *identity, added_tokens=model.cached_tokens)


def losses_of(
    system: BenchmarkedSystem, model: Any, criterion: Any, folder: Path, tokens: TokenTable, texts: str
) -> Callable[[], dict[str, Tensor]]:
    """The losses of a batch of all records, collated anew at every call."""
    inputs_class = system.registered.inputs_class()
    inputs = inputs_class(inputs_class.Options(texts=texts), model)
    dataset = system.dataset(folder, "train", tokens, inputs)
    device = str(next(model.parameters()).device)
    rows = np.arange(len(dataset))
    return lambda: training.our_losses(model, criterion, training.to_device(dataset.collater(rows), device))


def check_losses(model: Any, ways: dict[str, Callable[[], dict[str, Tensor]]]) -> None:
    """Assert that all ways give the same losses without dropout.

    Raises:
        AssertionError: one differs by more than :data:`TOLERANCE`.
    """
    model.eval()
    try:
        with torch.no_grad():
            first, *others = [way() for way in ways.values()]
    finally:
        model.train()
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=TOLERANCE)
