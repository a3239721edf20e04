"""Start-up: from a manifest of 10 million records to the first batch; seconds, and memory above the interpreter.

The manifest has everything pre-training reads: TSV, meta data, token ids of 1 million unique reports (30 tokens on average)
and their negatives.
Shards are sparse files with a proper header (2,442 of 4,096 rows), so that what looks like 1.2 TB takes no room and every
shard is checked as in earnest; all other files are compared with their checksums. Each measurement is made in a fresh
process, of which the memory after importing the same modules is subtracted. The baseline reads the TSV line by line into
Python lists and nothing else.

``loading`` is what a command waits for: manifest, report ids, token ids, negatives (their checksums included) and the data
set. ``worker`` is a data-loader worker that has made a batch: what it shares with no other process. ``resident`` counts
memory-mapped files too, which the system may drop. ``length groups`` is what ``task.group_by_length`` adds at the beginning of
each epoch.

Physical limit: the bytes that have to be read, 0.8 GB, at the speed of the page cache; and 4 bytes a record and column.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import systems
from benchmarks.harness import material
from benchmarks.harness.memory import read_memory, reset_peak, run_fresh, unshared
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import LOWER, Outcome
from benchmarks.harness.timing import figure_of

ROWS_PER_SHARD = 4096
VOCAB_SIZE = 32_128
"""Of Flan-T5."""


def run(options: Options) -> Outcome:
    """See the module's docstring."""
    n_records, n_reports = (20_000, 500) if options.quick else (10_000_000, 1_000_000)
    rounds = options.rounds or (1 if options.quick else 3)
    ours: list[dict[str, Any]] = []
    naive: list[dict[str, Any]] = []
    with options.temporary() as folder:
        if options.quick:
            write_large_manifest(folder, n_records, n_reports)
        else:  # gigabytes of arrays, which this process need not keep
            run_fresh(__name__, {"task": "write", "folder": str(folder), "n_records": n_records, "n_reports": n_reports})
        for _ in range(rounds):
            ours.append(run_fresh(__name__, {"task": "ours", "folder": str(folder), "model": options.model}, threads=1))
            naive.append(run_fresh(__name__, {"task": "naive", "folder": str(folder)}, threads=1))
    for answer in (*ours, *naive):
        if answer["records"] != n_records:
            raise AssertionError(f"read {answer['records']} of {n_records} records")
    ratios = []
    for name, key in (("loading / list of lines", "seconds"), ("resident / list of lines", "resident")):
        # Both are seconds or megabytes: how many times as much the lists need.
        ratios.append(figure_of(name, [b[key] / a[key] for a, b in zip(ours, naive)], "x", "higher"))
    units = {"seconds": "s", "batch_seconds": "s", "groups_seconds": "s"}
    names = {
        "seconds": "loading",
        "batch_seconds": "iterator and first batch",
        "resident": "resident",
        "anonymous": "resident, without mapped files",
        "peak": "peak while loading",
        "worker": "worker, unshared",
        "groups_seconds": "length groups of an epoch",
        "groups": "length groups, memory kept",
        "groups_peak": "length groups, peak while made",
    }
    figures = [
        figure_of(name, [answer[key] for answer in ours], units.get(key, "MB"), LOWER)
        for key, name in names.items()
        if key in ours[0]
    ]
    figures.append(figure_of("list of lines, loading", [answer["seconds"] for answer in naive], "s"))
    figures.append(figure_of("list of lines, resident", [answer["resident"] for answer in naive], "MB"))
    return Outcome(
        ratios=ratios,
        figures=figures,
        checks=[f"both see {n_records:,} records"],
        settings={"records": n_records, "reports": n_reports},
    )


def fresh(task: str, folder: str, model: str | None = None, **sizes: int) -> dict[str, Any]:
    """One task in a process of its own."""
    if task == "write":
        write_large_manifest(Path(folder), **sizes)
        return {}
    return load_ours(Path(folder), model) if task == "ours" else load_naive(Path(folder))


def load_naive(folder: Path) -> dict[str, Any]:
    """Seconds and megabytes of the baseline."""
    from benchmarks.naive.manifest import read_lines

    before = read_memory()
    start = time.perf_counter()
    names, _ = read_lines(folder / "train.tsv")
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "records": len(names), "resident": read_memory().resident - before.resident}


def load_ours(folder: Path, model: str | None) -> dict[str, Any]:
    """Seconds and megabytes of the data set, and of a data-loader worker after its first batch."""
    import torch

    from cmelt_plugin.data.text.tokens import TokenTable

    system = systems.find(model)
    inputs = system.inputs()
    _warm_libraries()
    before = read_memory()
    start = time.perf_counter()
    tokens = TokenTable.load(folder / f"reports.{material.TAG}.npz", folder / "reports.parquet")
    dataset = system.dataset(folder, "train", tokens, inputs)
    seconds = time.perf_counter() - start
    after = read_memory()
    start = time.perf_counter()
    order = dataset.ordered_indices()
    batches = [order[begin : begin + 128] for begin in range(0, len(order), 128)]
    loader = torch.utils.data.DataLoader(
        dataset, batch_sampler=batches, collate_fn=_Watched(dataset), num_workers=1, multiprocessing_context="fork"
    )
    iterator = iter(loader)
    worker = next(iterator)["worker"]
    batch_seconds = time.perf_counter() - start
    del iterator, loader, batches, order
    dataset.options.group_by_length = True
    counted = reset_peak()
    before_groups = read_memory()
    start = time.perf_counter()
    groups = dataset.batches(128)
    groups_seconds = time.perf_counter() - start
    after_groups = read_memory()
    assert len(groups) == -(-len(dataset) // 128)
    return {
        "seconds": seconds,
        "batch_seconds": batch_seconds,
        "records": len(dataset),
        "resident": after.resident - before.resident,
        "anonymous": after.anonymous - before.anonymous,
        "peak": max(after.peak - before.resident, 0.0),
        "worker": worker,
        "groups_seconds": groups_seconds,
        "groups": max(after_groups.resident - before_groups.resident, 0.0),
        **({"groups_peak": max(after_groups.peak - before_groups.resident, 0.0)} if counted else {}),
    }


class _Watched:
    """The data set's collater; the batch also says how much memory the worker shares with nobody."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __call__(self, samples: list[int]) -> dict[str, Any]:
        batch = self.dataset.collater(samples, digital=True)
        batch["worker"] = unshared()
        return batch


def _warm_libraries() -> None:
    """Let libraries that load parts of themselves on first use do so before memory is counted."""
    import pyarrow.compute as pc
    import pyarrow.parquet  # noqa: F401

    pc.index_in(pc.list_flatten(pc.split_pattern(["a:1"], ":")), pc.utf8_upper(["A"]))


def write_large_manifest(folder: Path, n_records: int, n_reports: int) -> None:
    """A manifest of sparse shards, without holding or writing any recordings."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from cmelt_plugin.data.batches.negatives import NegativeTable
    from cmelt_plugin.data.text.reports import write_reports
    from cmelt_plugin.verify import accept

    rng = np.random.default_rng(0)
    files = _write_sparse_store(folder, n_records)
    template = "".join(f"@:{row}\t5000\n" for row in range(ROWS_PER_SHARD))
    rest = "".join(f"@:{row}\t5000\n" for row in range(n_records - (len(files) - 1) * ROWS_PER_SHARD))
    with open(folder / "train.tsv", "w", encoding="utf-8") as handle:
        handle.write(".\n")
        handle.writelines((template if name != files[-1] else rest).replace("@", name) for name in files)
    with pq.ParquetWriter(folder / "train.meta.parquet", material.META_SCHEMA) as writer:
        for start in range(0, n_records, 1_000_000):
            number = np.arange(start, min(start + 1_000_000, n_records))
            # Report 0 is the frequent one; the others follow in no order.
            report_id = np.where(rng.random(len(number)) < 0.125, 0, rng.integers(0, n_reports, len(number)))
            record, subject = (pa.array(40_000_000 + ids).cast(pa.string()) for ids in (number, number // 5))
            writer.write_table(material.meta_table(record, report_id, subject))
    texts = material.report_texts(min(n_reports, 2000))
    numbered = pa.array([f"{texts[i % len(texts)]} {i}" for i in range(n_reports)])
    write_reports(folder, numbered, np.ones(n_reports, dtype=np.int64))
    lengths = rng.integers(10, 51, n_reports)
    tokens = material.random_tokens(lengths, VOCAB_SIZE, rng, folder / "reports.parquet")
    tokens.save(folder / f"reports.{material.TAG}.npz")
    step = rng.integers(1, n_reports, (n_reports, 64), dtype=np.int32)
    neighbours = (np.arange(n_reports, dtype=np.int32)[:, None] + step) % n_reports
    NegativeTable(neighbours, {}).save(folder, "train")
    accept(folder, ["*"])  # checksums.json, as packing leaves it


def _write_sparse_store(folder: Path, n_records: int) -> list[str]:
    """Shards that hold zeros and take no room on disk; their names."""
    from cmelt_plugin.data.store.record_store import ROW_BYTES, ROW_SHAPE, shard_name
    from cmelt_plugin.data.store.shard_writer import write_store_json

    shards = []
    for index, start in enumerate(range(0, n_records, ROWS_PER_SHARD)):
        rows = min(ROWS_PER_SHARD, n_records - start)
        with open(folder / shard_name(index), "wb") as handle:
            header = {"descr": "<i2", "fortran_order": False, "shape": (rows, *ROW_SHAPE)}
            np.lib.format.write_array_header_1_0(handle, header)
            handle.truncate(handle.tell() + rows * ROW_BYTES)
        shards.append({"file": shard_name(index), "rows": rows, "sha256": "sha256:sparse"})
    write_store_json(folder, shards)
    return [shard["file"] for shard in shards]
