"""Packing WFDB records into a store, against bare ``wfdb.rdrecord`` and putting the leads in order; and over processes.

Records are synthetic, in the layout of MIMIC-IV-ECG (a header and a file of 16-bit samples each), the page cache is warm.
``ours`` is the whole command in one process: CSV files, reading, checks for missing and flat leads, conversion to 0.001 mV,
writing, checksums, syncing to disk, splits, meta data. ``bare`` reads and reorders and keeps nothing. ``ours, reading`` is the
reading and checking alone.

With ``--jobs`` the gain is taken from the time that additional records need, since starting the processes takes seconds once.

Physical limit: the disk, 120 kB a record to read and as much to write; below that the system calls for two files a record.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import material
from benchmarks.harness.machine import usable_cores
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import HIGHER, LOWER, Outcome
from benchmarks.harness.timing import figure_of, race
from benchmarks.naive.wfdb_records import read_records
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.readers.wfdb_records import read_wfdb
from cmelt_plugin.data.store.record_store import RecordStore
from preprocess import mimic_iv_ecg
from preprocess.packing.recording import to_row
from preprocess.synthetic_ecg.layouts.mimic_iv_ecg_layout import RECORD_COLUMNS, record_path, write_record


def run(options: Options) -> Outcome:
    """See the module's docstring."""
    n, shard = (24, 8) if options.quick else (3072, 64)
    jobs = 1 if options.quick else min(usable_cores(), 8)
    with options.temporary() as folder:
        paths = write_cohort(folder / "cohort", n)
        checks = [check(folder, paths[: min(n, 64)], shard)]
        part = paths[: max(8, n // 12)]
        contestants = {
            "bare": lambda: read_records(part),
            "ours, reading": lambda: [to_row(read_wfdb(str(path))) for path in part],
            "ours": lambda: pack(folder, len(part), shard, 1),
        }
        timed = race(contestants, options.choose_rounds(5))
        outcome = Outcome(
            ratios=[
                *timed.ratio("ours / bare", "bare", "ours"),
                *timed.ratio("ours, reading / bare", "bare", "ours, reading"),
            ],
            figures=[figure for name in contestants for figure in timed.rate(name, len(part), "records/s")],
            checks=checks,
            settings={"records": n, "rows_per_shard": shard, "jobs": jobs},
        )
        if jobs > 1:
            rounds = options.rounds or 2
            rates = {each: [marginal_rate(folder, n, shard, each) for _ in range(rounds)] for each in (1, jobs)}
            gain = np.array(rates[jobs]) / np.array(rates[1])
            outcome.ratios.append(figure_of(f"--jobs {jobs} / --jobs 1", gain, "x", HIGHER))
            outcome.figures.append(figure_of("--jobs, share of linear", 100 * gain / jobs, "%", HIGHER))
            outcome.figures.append(figure_of(f"--jobs {jobs}", rates[jobs], "records/s", HIGHER))
            start = [_seconds(folder, 2 * shard * jobs, shard, jobs) for _ in range(rounds)]
            outcome.figures.append(figure_of(f"--jobs {jobs}, {2 * shard * jobs} records in all", start, "s", LOWER))
        else:
            outcome.notes.append("one core: --jobs not measured")
    return outcome


def write_cohort(root: Path, n: int) -> list[Path]:
    """``n`` records and their CSV files; paths of the records without extension."""
    ecg = material.signals(min(n, material.DISTINCT))
    texts = material.report_texts(min(n, 50))
    time_stamp = np.datetime64("2180-07-23T08:44:00")
    listed, measured, paths = [",".join(RECORD_COLUMNS)], ["study_id,report_0"], []
    for i in range(n):
        subject, study = 10_000_000 + i // 2, 40_000_000 + i
        path = record_path(subject, study)
        write_record(root, path, subject, time_stamp, ecg[i % len(ecg)], 500)
        listed.append(f"{subject},{study},{study},2180-07-23 08:44:00,{path}")
        measured.append(f"{study},{texts[i % len(texts)]}")
        paths.append(root / path)
    (root / "record_list.csv").write_text("\n".join(listed) + "\n", encoding="utf-8")
    (root / "machine_measurements.csv").write_text("\n".join(measured) + "\n", encoding="utf-8")
    return paths


def pack(folder: Path, n: int, shard: int, jobs: int) -> None:
    """The command on the first ``n`` records, into an empty directory, silently."""
    dest = folder / "packed"
    shutil.rmtree(dest, ignore_errors=True)
    arguments = ["--root", folder / "cohort", "--dest", dest, "--limit", n, "--jobs", jobs, "--rows-per-shard", shard]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        mimic_iv_ecg.main([str(argument) for argument in (*arguments, "--split", 1, 0, 0)])


def check(folder: Path, paths: list[Path], shard: int) -> str:
    """Assert that the store holds what the bare reading gives, to half a unit of 0.001 mV."""
    pack(folder, len(paths), shard, 1)
    manifest = Manifest.open(folder / "packed", "train")
    packed = RecordStore(manifest.store_root).read(manifest.shard, manifest.row)
    np.testing.assert_allclose(packed, read_records(paths), atol=5.1e-4)
    return "the store holds what wfdb reads, to half a microvolt"


def marginal_rate(folder: Path, n: int, shard: int, jobs: int) -> float:
    """Records per second, the time to start taken out: two sizes, and their difference."""
    few = 2 * shard * jobs if n > 2 * shard * jobs else shard
    return (n - few) / max(_seconds(folder, n, shard, jobs) - _seconds(folder, few, shard, jobs), 1e-9)


def _seconds(folder: Path, n: int, shard: int, jobs: int) -> float:
    start = time.perf_counter()
    pack(folder, n, shard, jobs)
    return time.perf_counter() - start
