"""Farthest neighbours through FAISS's inverted lists (IVF): recall of the 64 farthest, and time against the exact search.

Two contestants answer the same sample of queries on the CPU: ``exact`` is the search of the farthest strategy, ``ivf`` its
approximate one (``--index ivf`` of preprocess/n3s.py). ``looking through`` compares the queries alone. ``whole search`` is that
for every report as a query, extrapolated from the sample, with the building of the lists added to ``ivf``. Recall is the share
of the 64 farthest reports that are found, mean over the sample, for several numbers of lists looked through (``nprobe``).

Embeddings are made up as those of reports are distributed: a direction that all share; clusters whose centres sum up to four
of 200 statements, frequent ones more often; one cluster to 50 reports, whose sizes fall as 1 / rank; each with a spread of its
own; all rows of unit norm. Real reports decide what recall is reached: n3s.py measures it on them.

By default 200,000 × 64. --full: 1,000,000 × 512 and 5,000,000 × 128, the latter narrower so that the embeddings and the lists,
which hold them once more, stay below 6 GB. Every size has a fresh process.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.harness.memory import read_memory, reset_peak, run_fresh
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import HIGHER, LOWER, Figure, Outcome
from benchmarks.harness.timing import figure_of
from preprocess.negatives.inner_product_search import InvertedLists, exact_search, recall

K = 64
PROBES = (16, 64, 256)
BLOCK = 65_536
N_STATEMENTS, STATEMENTS_PER_CENTRE, REPORTS_PER_CLUSTER = 200, 4, 50


def run(options: Options) -> Outcome:
    """See the module's docstring."""
    sizes = [(2_000, 16)] if options.quick else [(1_000_000, 512), (5_000_000, 128)] if options.full else [(200_000, 64)]
    queries = 64 if options.quick else 2048
    rounds = options.choose_rounds(3)
    ratios: list[Figure] = []
    figures: list[Figure] = []
    checks = []
    for n, width in sizes:
        arguments = {"n": n, "width": width, "queries": queries, "rounds": rounds}
        answer = fresh(**arguments) if options.quick else run_fresh(__name__, arguments, timeout=4 * 3600)
        of_size = figures_of(n, queries, answer)
        ratios += of_size[0]
        figures += of_size[1]
        checks.append(f"{n:,}: all {answer['nlist']:,} lists together find what the exact search finds")
    notes = ["time of the whole search is extrapolated from a sample of the queries; the lists are built in full"]
    settings = {"sizes": [list(size) for size in sizes], "k": K, "queries": queries, "probes": list(PROBES)}
    return Outcome(ratios, figures, checks, notes, settings)


def figures_of(n: int, queries: int, answer: dict[str, Any]) -> tuple[list[Figure], list[Figure]]:
    """Ratios and figures of one size."""
    exact = np.array(answer["exact"])
    ratios = []
    figures = [figure_of(f"exact at {n:,}, whole search", exact * n / queries, "s", LOWER)]
    figures.append(figure_of(f"building {answer['nlist']:,} lists at {n:,}", answer["build"], "s", LOWER))
    for probes, found in answer["ivf"].items():
        seconds, at = np.array(found["seconds"]), f"at {n:,}, nprobe {probes}"
        whole = answer["build"] + seconds * n / queries
        ratios.append(figure_of(f"whole search {at}: exact / ivf", exact * n / queries / whole, "x", HIGHER))
        ratios.append(figure_of(f"looking through {at}: exact / ivf", exact / seconds, "x", HIGHER))
        figures.append(figure_of(f"recall@{answer['k']} {at}", 100 * found["recall"], "%", HIGHER))
        figures.append(figure_of(f"ivf {at}, whole search", whole, "s", LOWER))
    figures.append(figure_of(f"lists at {n:,}, peak above the embeddings", answer["peak"], "MB", LOWER))
    figures.append(figure_of(f"peak of the process at {n:,}", answer["process_peak"], "MB", LOWER))
    return ratios, figures


def fresh(n: int, width: int, queries: int, rounds: int) -> dict[str, Any]:
    """One size: seconds of both searches for the sample of queries, recall per ``nprobe``, and memory.

    Raises:
        AssertionError: all lists together do not find what the exact search finds.
    """
    embeddings = report_like_embeddings(n, width)
    rows = np.sort(np.random.default_rng(1).choice(n, queries, replace=False))
    asked = -embeddings[rows]
    reset_peak()
    before = read_memory()
    start = time.perf_counter()
    lists = InvertedLists(embeddings)
    build = time.perf_counter() - start
    peak = read_memory().peak - before.resident

    exact = exact_search(embeddings, "cpu")
    k = min(K, n - 1)
    expected = similarity(embeddings, asked, exact.search(asked, k))
    some = asked[:64]
    complete = recall(similarity(embeddings, some, lists.search(some, k, lists.nlist)), expected[:64])
    if complete != 1:
        raise AssertionError(f"{n:,}: all lists together find {complete:.4f} of what the exact search finds")
    probes = sorted({min(each, lists.nlist) for each in (*PROBES, lists.nprobe)})
    ivf: dict[int, dict[str, Any]] = {}
    for each in probes:
        ivf[each] = {"recall": recall(similarity(embeddings, asked, lists.search(asked, k, each)), expected), "seconds": []}
    exact_seconds = []
    for number in range(rounds):
        for each in ([0, *probes], [*probes, 0])[number % 2]:
            start = time.perf_counter()
            if each:
                lists.search(asked, k, each)
                ivf[each]["seconds"].append(time.perf_counter() - start)
            else:
                exact.search(asked, k)
                exact_seconds.append(time.perf_counter() - start)
    process_peak = read_memory().peak
    return {
        "k": k,
        "nlist": lists.nlist,
        "build": build,
        "exact": exact_seconds,
        "ivf": {str(each): found for each, found in ivf.items()},
        "peak": max(peak, 0.0),
        "process_peak": process_peak,
    }


def similarity(embeddings: np.ndarray, asked: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Inner products of queries with what was found for them, float32 ``[queries, k]``."""
    return np.stack([embeddings[others] @ query for query, others in zip(asked, found)])


def report_like_embeddings(n: int, width: int, seed: int = 0) -> np.ndarray:
    """Float32 ``[n, width]`` as the module's docstring describes them, made block by block in place."""
    rng = np.random.default_rng(seed)
    clusters = max(2, n // REPORTS_PER_CLUSTER)
    statements = rng.standard_normal((N_STATEMENTS, width), dtype=np.float32)
    common = rng.standard_normal(width, dtype=np.float32)
    frequency = 1 / np.arange(1, N_STATEMENTS + 1)
    chosen = rng.choice(N_STATEMENTS, (clusters, STATEMENTS_PER_CENTRE), p=frequency / frequency.sum())
    present = rng.random((clusters, STATEMENTS_PER_CENTRE)) < 0.7
    present[:, 0] = True
    spread = rng.uniform(0.2, 0.6, clusters).astype(np.float32)
    edges = np.cumsum(1 / np.arange(1, clusters + 1))
    embeddings = np.empty((n, width), dtype=np.float32)
    for start in range(0, n, BLOCK):
        block = embeddings[start : start + BLOCK]
        rng.standard_normal(out=block, dtype=np.float32)
        cluster = np.minimum(np.searchsorted(edges, rng.random(len(block)) * edges[-1]), clusters - 1)
        block *= spread[cluster, None]
        weight = (present[cluster] / np.sqrt(present[cluster].sum(axis=1, keepdims=True))).astype(np.float32)
        for position in range(STATEMENTS_PER_CENTRE):
            block += weight[:, position, None] * statements[chosen[cluster, position]]
        block += common
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return embeddings
