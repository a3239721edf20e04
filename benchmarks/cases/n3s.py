"""Finding negatives (N3S): the 64 farthest of every report, exactly, and the balanced strategy; seconds and memory.

``farthest`` and ``balanced`` are the strategies of preprocess/n3s.py on stand-in embeddings of width 512; every run is a fresh
process, whose memory above the embeddings is told. ``farthest`` searches on the device, ``balanced`` always on the CPU.
``torch`` is the shortest program for the exact search, a matrix product and ``topk`` per block of reports, on the device.
Before timing, exact results are compared with sorting all distances.

On a CPU 30,000 reports are searched and extrapolated to 180,000, which MIMIC-IV-ECG has: the exact search grows with the
square of their number, the balanced one in proportion, since its pools have a fixed size; memory of the exact search grows in
proportion. --full searches all 180,000.

Physical limit: the n²·d multiplications at the measured speed of matrix products.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from benchmarks.harness.limits import matmul_rate
from benchmarks.harness.material import unit_vectors
from benchmarks.harness.memory import MB, read_memory, reset_peak, run_fresh
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import HIGHER, LOWER, Figure, Outcome
from benchmarks.harness.timing import figure_of

WIDTH, K, WANTED = 512, 64, 180_000
BLOCK = 4096


def run(options: Options) -> Outcome:
    """See the module's docstring."""
    n = 400 if options.quick else WANTED if options.full or options.on_gpu else 30_000
    contestants = ["farthest", "balanced", "torch"]
    notes = []
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    for number in range(options.rounds or (2 if options.quick or options.on_gpu else 1)):
        for name in contestants if number % 2 == 0 else contestants[::-1]:
            arguments = {"name": name, "n": n, "device": options.device}
            answers[name].append(fresh(**arguments) if options.quick else run_fresh(__name__, arguments))
    for name, results in answers.items():
        if name != "balanced" and results[0]["wrong"]:
            raise AssertionError(f"{name}: {results[0]['wrong']} rows differ from sorting all distances")

    seconds = {name: np.array([answer["seconds"] for answer in results]) for name, results in answers.items()}
    peaks = {name: np.array([answer["peak"] for answer in results]) for name, results in answers.items()}
    limit = matmul_rate(options.device, torch.float32, 8192 if options.on_gpu else 256 if options.quick else 2048)
    share = 100 * 2 * n * n * WIDTH / 1e12 / seconds["farthest"] / limit.value
    ratios, figures = figures_at(n, seconds, peaks)
    if n < WANTED and not options.quick:
        growth = WANTED / n
        wanted_seconds = {name: values * (growth if name == "balanced" else growth**2) for name, values in seconds.items()}
        wanted_peaks = {name: values * (1 if name == "balanced" else growth) for name, values in peaks.items()}
        further = figures_at(WANTED, wanted_seconds, wanted_peaks)
        ratios, figures = [*further[0], *ratios], [*further[1], *figures]
        notes.append(f"what is told for {WANTED:,} reports is extrapolated from {n:,}")
    figures += [figure_of("exact search, share of the matrix product's speed", share, "%", HIGHER), limit]
    checks = ["exact searches find what sorting all distances finds"]
    settings = {"reports": n, "width": WIDTH, "k": K, "device": options.device}
    return Outcome(ratios, figures, checks, notes, settings)


def figures_at(n: int, seconds: dict[str, np.ndarray], peaks: dict[str, np.ndarray]) -> tuple[list[Figure], list[Figure]]:
    """Ratios and figures for ``n`` reports."""
    ratios = [
        figure_of(f"balanced / farthest, time at {n:,}", seconds["balanced"] / seconds["farthest"], "x", LOWER),
        figure_of(f"farthest / torch, speed at {n:,}", seconds["torch"] / seconds["farthest"], "x", HIGHER),
    ]
    figures = []
    for name in seconds:
        figures.append(figure_of(f"{name}, {n:,} reports", seconds[name], "s", LOWER))
        figures.append(figure_of(f"{name}, peak for {n:,} reports", peaks[name], "MB", LOWER))
    return ratios, figures


def fresh(name: str, n: int, device: str = "cpu") -> dict[str, Any]:
    """One search: seconds, megabytes above the embeddings, and rows of a sample that are wrong."""
    embeddings = unit_vectors(n, WIDTH)
    counts = np.maximum(1, 100_000 // (1 + np.arange(n)))
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.zeros(1, device=device)
        torch.cuda.reset_peak_memory_stats(device)
    reset_peak()
    before = read_memory()
    start = time.perf_counter()
    if name == "torch":
        table = farthest_torch(embeddings, K, device)
    else:
        table = search(name, embeddings, counts, device)
    seconds = time.perf_counter() - start
    peak = max(read_memory().peak - before.resident, 0.0)
    if on_gpu:
        peak = max(peak, torch.cuda.max_memory_allocated(device) / MB)
    return {"seconds": seconds, "peak": peak, "wrong": 0 if name == "balanced" else wrong_rows(embeddings, table)}


def search(name: str, embeddings: np.ndarray, counts: np.ndarray, device: str) -> np.ndarray:
    """Negatives by one of our strategies, int32 ``[n, k]``."""
    from preprocess.negatives.farthest import Farthest
    from preprocess.negatives.frequency_matched import FrequencyMatched
    from preprocess.negatives.mining import find_negatives

    strategy: Any = (
        Farthest(embeddings, K, BLOCK, device=device) if name == "farthest" else FrequencyMatched(embeddings, counts, K)
    )
    return find_negatives(strategy)


def farthest_torch(embeddings: np.ndarray, k: int, device: str) -> np.ndarray:
    """Exact search with a matrix product and ``topk`` per block, int32 ``[n, k]``."""
    vectors = torch.from_numpy(embeddings).to(device)
    table = np.empty((len(vectors), k), dtype=np.int32)
    for start in range(0, len(vectors), 1024):
        similarity = vectors[start : start + 1024] @ vectors.T
        table[start : start + 1024] = similarity.topk(k, largest=False, sorted=False).indices.cpu().numpy()
    return table


def wrong_rows(embeddings: np.ndarray, table: np.ndarray, sample: int = 16) -> int:
    """Rows of a sample whose negatives are not at the distances that sorting gives."""
    rows = np.linspace(0, len(table) - 1, sample).astype(int)
    k = table.shape[1]
    similarity = embeddings[rows] @ embeddings.T
    similarity[np.arange(sample), rows] = np.inf  # no report is its own negative
    smallest = np.sort(similarity, axis=1)[:, :k]
    found = np.sort(np.take_along_axis(similarity, table[rows].astype(np.int64), axis=1), axis=1)
    return int((~np.isclose(found, smallest, atol=1e-5)).any(axis=1).sum())
