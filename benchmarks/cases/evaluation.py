"""A zero-shot pass: every record once through the ECG encoder, every class text once through the text encoder.

``ours`` is what the zero-shot command does with a split: ``embed_records``, ``embed_classes``, ``similarities``. Encoder passes
are counted by hooks. ``texts every batch`` reads .mat files and encodes the class texts again for every batch. Both must give
the same scores. On a CPU a few records at the paper's sizes; on a GPU 22,000.

Physical limit: the encoder alone on a batch that is already on the device, ``bare encoder``; on a GPU also the share of the
time in which it runs at least one kernel, ``GPU busy``.
"""

from __future__ import annotations

import contextlib
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks import systems
from benchmarks.harness import material
from benchmarks.harness.limits import kernel_seconds
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import HIGHER, LOWER, Figure, Outcome
from benchmarks.harness.timing import figure_of, race
from benchmarks.naive.records import read_mat_files, write_mat_files
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.directory.split_files import write_split
from cmelt_plugin.data.store.record_store import ROW_SHAPE, RecordStore
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.evaluation.embedding.records import embed_records
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference.scoring import embed_classes, similarities
from cmelt_plugin.modules.compiling import stacked_layers

N_CLASSES = 5
TEXTS_PER_CLASS = 2


class Counter:
    """Rows that went through the first layers of ECG encoder and text encoder."""

    def __init__(self, model: Any) -> None:
        self.ecg = self.text = 0
        self.handles = [
            model.layers()[0].register_forward_hook(self._count_ecg),
            next(stacked_layers(model.text_encoder.model)).register_forward_hook(self._count_text),
        ]

    def _count_ecg(self, module: Any, inputs: Any, output: Any) -> None:
        self.ecg += len(inputs[0])

    def _count_text(self, module: Any, inputs: Any, output: Any) -> None:
        self.text += len(inputs[0])

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


def run(options: Options) -> Outcome:
    """See the module's docstring."""
    n, batch = (12, 4) if options.quick else (22_000, 64) if options.on_gpu else (16, 8)
    model = systems.find(options.model).build_model(tiny=options.quick, device=options.device).eval()
    prompts = made_up_prompts(model.vocab_size)
    with options.temporary() as folder, contextlib.redirect_stderr(io.StringIO()):
        manifest = repeating_manifest(folder, n)
        store = RecordStore(manifest.store_root)
        distinct = store.read(manifest.shard[:batch], manifest.row[:batch])
        part = slice(material.DISTINCT)
        mat_files = write_mat_files(folder / "mat", store.read(manifest.shard[part], manifest.row[part]))
        resident = torch.from_numpy(distinct).to(options.device)

        def ours() -> np.ndarray:
            ecg = embed_records(model, manifest, batch, options.device)
            return similarities(model, ecg, classes_of(model, prompts, options.device), options.device).numpy()

        def texts_every_batch() -> np.ndarray:
            return _texts_every_batch(model, manifest.row.tolist(), mat_files, prompts, batch, options.device)

        @torch.no_grad()
        def bare() -> None:
            for _ in range(0, n, batch):
                model.embed_ecg(resident)

        checks, passes = check(model, ours, texts_every_batch if n <= 64 else None, n)
        contestants = {"ours": ours, "bare encoder": bare}
        if not options.on_gpu:
            contestants["texts every batch"] = texts_every_batch
        timed = race(contestants, options.choose_rounds(3), options.device)
        figures = [*passes, *(figure for name in contestants for figure in timed.rate(name, n, "records/s"))]
        if options.on_gpu:
            figures.append(figure_of("GPU busy", 100 * busy_share(ours), "%", HIGHER))
    return Outcome(
        ratios=[
            *timed.ratio("ours / bare encoder", "bare encoder", "ours"),
            *timed.ratio("ours / texts every batch", "texts every batch", "ours"),
        ],
        figures=figures,
        checks=checks,
        settings={"records": n, "batch": batch, "classes": N_CLASSES, "texts": len(prompts), "device": options.device},
    )


def check(model: Any, ours: Any, other: Any, n: int) -> tuple[list[str], list[Figure]]:
    """Count encoder passes, and assert the same scores as the other way where given.

    Returns:
        What was checked, and passes per record and per class text.
    """
    counter = Counter(model)
    try:
        scores = ours()
    finally:
        counter.remove()
    n_texts = N_CLASSES * TEXTS_PER_CLASS
    passes = [
        figure_of("encoder passes a record", counter.ecg / n, "x", LOWER),
        figure_of("encoder passes a class text", counter.text / n_texts, "x", LOWER),
    ]
    if scores.shape != (n, N_CLASSES) or min(counter.ecg / n, counter.text / n_texts) < 1:
        raise AssertionError(f"scores {scores.shape} from {counter.ecg} records and {counter.text} texts")
    told = [f"{counter.ecg} passes for {n} records, {counter.text} for {n_texts} class texts"]
    if other is not None:
        np.testing.assert_allclose(scores, other(), atol=1e-4)
        told.append("same scores as with texts encoded for every batch, to 1e-4")
    return told, passes


def busy_share(function: Any) -> float:
    """Share of the time of one call in which the GPU runs something."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        torch.cuda.synchronize()
        start = time.perf_counter()
        function()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    return kernel_seconds(profiler) / seconds


def made_up_prompts(vocab_size: int) -> TokenTable:
    """Class texts of 6 to 24 random tokens."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(6, 25, N_CLASSES * TEXTS_PER_CLASS)
    return material.random_tokens(lengths, vocab_size, rng, class_index=np.repeat(np.arange(N_CLASSES), TEXTS_PER_CLASS))


def classes_of(model: Any, prompts: TokenTable, device: str) -> Embedding:
    """One embedding per class, every class text through the text encoder once."""
    texts = [prompts[text] for text in range(len(prompts))]
    return embed_classes(model, texts, prompts.class_index, N_CLASSES, prompts.info["pad_id"], device)


def repeating_manifest(folder: Path, n: int) -> Manifest:
    """A manifest of ``n`` records over a store of at most 2,048."""
    shard, row = material.write_store(folder, n, stored=2048)
    ids = pa.array(np.arange(n)).cast(pa.string())
    meta = material.meta_table(ids, np.full(n, -1), ids)
    write_split(folder, "test", RecordStore(folder).files, shard, row, np.full(n, ROW_SHAPE[1]), meta)
    return Manifest.open(folder, "test")


@torch.no_grad()
def _texts_every_batch(
    model: Any, rows: list[int], mat_files: list[Path], prompts: TokenTable, batch: int, device: str
) -> np.ndarray:
    scores = []
    for start in range(0, len(rows), batch):
        paths = [mat_files[row % len(mat_files)] for row in rows[start : start + batch]]
        ecg = model.embed_ecg(torch.from_numpy(read_mat_files(paths)).to(device))
        scores.append(similarities(model, ecg, classes_of(model, prompts, device)).cpu().numpy())
    return np.concatenate(scores)
