"""Negative reports for ECG-text matching, computed once per split (N3S, C-MELT section 3.2).

Embeds every unique report, finds for each report of a split its negatives among the reports of that split, and writes
SPLIT.n3s.npy and SPLIT.n3s.json into the manifest directory. A killed run goes on where it stopped.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from cmelt_plugin import option_types
from cmelt_plugin.data.batches.negatives import NegativeTable, negatives_paths, source_fingerprints
from cmelt_plugin.data.directory.manifest import available_splits
from cmelt_plugin.data.directory.replacing import list_again
from cmelt_plugin.data.directory.split_meta import read_meta_column
from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.data.store.npy_files import read_npy
from cmelt_plugin.data.text.reports import Reports, read_reports
from cmelt_plugin.errors import DataError
from preprocess.negatives.diagnostics import diagnose, example_pairs
from preprocess.negatives.farthest import EXACT, INDEXES, Farthest, metric_name
from preprocess.negatives.frequency_matched import FrequencyMatched
from preprocess.negatives.mining import find_negatives
from preprocess.packing.engines import Engine, add_engine_arguments, engine_from
from preprocess.text.text_embedding import Embedder, embed_block, embedder_settings, load_embedder

CACHE = ".n3s-cache"
ALGORITHM = 1
"""Counted up when the same settings give other negatives, so that older caches and files are not taken for current."""
EXAMPLE = """strategies:
  farthest   the k reports of largest cosine distance, as in the paper
  balanced   far reports, drawn such that negatives are as frequent as true reports: matching cannot be learnt from the
             text alone

example:
  python preprocess/n3s.py --manifest manifests/mimic-iv-ecg --embedder google/flan-t5-small --strategy balanced
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--manifest", type=Path, required=True, help="manifest directory")
    result.add_argument("--embedder", required=True, help="folder or name of a text encoder, or tfidf")
    result.add_argument("--k", type=option_types.count, default=64, help="negatives per report (64)")
    result.add_argument("--strategy", choices=["farthest", "balanced"], required=True)
    result.add_argument("--splits", nargs="+", help="splits to do (all there are)")
    result.add_argument(
        "--seed", type=option_types.seed, default=1, help="of the balanced strategy and of the printed numbers (1)"
    )
    result.add_argument("--block", type=option_types.count, default=4096, help="reports per cached block (4096)")
    result.add_argument("--batch", type=option_types.count, default=256, help="texts per forward pass of the encoder (256)")
    result.add_argument("--device", default="auto", help="of the encoder and of the exact search (auto)")
    result.add_argument("--index", choices=INDEXES, default=EXACT, help="of the farthest strategy; ivf is approximate (exact)")
    result.add_argument(
        "--nlist", type=option_types.count, help="ivf: lists the reports are put into (4 times the root of their number)"
    )
    result.add_argument(
        "--nprobe", type=option_types.count, help="ivf: lists looked through per report (a sixteenth of all, at least 64)"
    )
    result.add_argument(
        "--jobs", type=option_types.count, default=1, help="processes for the embedding; on one GPU more gain nothing (1)"
    )
    add_engine_arguments(result)
    result.add_argument("--overwrite", action="store_true", help="compute again what is there already")
    return result


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = parser().parse_args(argv)
    if arguments.strategy != "farthest" and arguments.index != EXACT:
        raise DataError(f"--index {arguments.index} is of the farthest strategy; {arguments.strategy} searches no index")
    odd = [split for split in arguments.splits or () if not split or Path(split).name != split]
    if odd:
        raise DataError(f"--splits {odd[0]}: not the name of a split, such as train")
    engine = engine_from(arguments)
    reports = read_reports(arguments.manifest)
    splits = arguments.splits or available_splits(arguments.manifest)
    if not splits:
        raise DataError(f"{arguments.manifest}: no split (train.tsv with train.meta.parquet) in this folder")
    embedder = load_embedder(arguments.embedder, arguments.device, arguments.batch)
    embeddings: np.ndarray | None = None
    done = []
    for split in splits:
        settings = _settings(arguments, embedder, split)
        if not arguments.overwrite and _up_to_date(arguments.manifest, split, settings):
            list_again(arguments.manifest, [path.name for path in negatives_paths(arguments.manifest, split)])
            _cache_of(arguments, settings, split).remove()
            print(f"{split}: up to date")
            done.append(split)
            continue
        ids, counts = _split_reports(arguments.manifest, split, len(reports))
        if len(ids) < 2:
            print(f"{split}: skipped, {len(ids)} unique report(s); negatives need at least 2")
            continue
        if embeddings is None:
            embeddings = _embed(arguments, engine, embedder, reports)
        _do_split(arguments, split, embedder.name, settings, reports, embeddings, ids, counts)
        done.append(split)
    if not done:
        raise DataError(f"{arguments.manifest}: no split has two different reports, so there are no negatives")
    return 0


def _settings(arguments: argparse.Namespace, embedder: Embedder, split: str) -> dict[str, Any]:
    """What decides about the result, as written to the description and compared with it."""
    return {
        "embedder_fingerprint": embedder.fingerprint,
        "k_requested": arguments.k,
        "metric": metric_name(arguments.index, arguments.nlist, arguments.nprobe),
        "strategy": arguments.strategy,
        "seed": arguments.seed,
        "algorithm": ALGORITHM,
        **source_fingerprints(arguments.manifest, split),
    }


def _up_to_date(manifest: Path, split: str, settings: dict[str, Any]) -> bool:
    if not negatives_paths(manifest, split)[1].is_file():
        return False
    try:
        info = NegativeTable.load(manifest, split).info
    except DataError as error:
        print(f"{split}: done again, since {error}")
        return False
    # The sources are those it was made from, by whichever of their fingerprints it names them: loading it has checked that.
    sources = source_fingerprints(manifest, split)
    differing = [key for key, value in settings.items() if key not in sources and info.get(key) != value]
    if differing:
        print(f"{split}: done again with other settings ({', '.join(differing)})")
    return not differing


def _split_reports(manifest: Path, split: str, n_reports: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the reports that occur in a split, ascending, and how many of its records carry each."""
    ids = read_meta_column(manifest, split, "report_id").to_numpy()
    if len(ids) and (ids.max() >= n_reports or ids.min() < -1):
        path = manifest / f"{split}.meta.parquet"
        raise DataError(f"{path}: report_id {ids.min()} to {ids.max()}, but reports.parquet has {n_reports} reports")
    return np.unique(ids[ids >= 0], return_counts=True)


def _embed(arguments: argparse.Namespace, engine: Engine, embedder: Embedder, reports: Reports) -> np.ndarray:
    """Embeddings of all reports, float32 ``[n, d]``, block by block through the cache."""
    key = [embedder.fingerprint, reports.fingerprint, arguments.block, arguments.batch]
    cache = _begin(arguments, _cache(arguments, key, "embeddings"))
    size = len(reports) if embedder.whole else arguments.block
    starts = range(0, len(reports), size)
    blocks: list[Any] = [cache.load(number) for number in range(len(starts))]
    waiting = [number for number, block in enumerate(blocks) if block is None]

    def texts(number: int) -> list[str]:
        return reports.texts.slice(starts[number], size).to_pylist()

    with tqdm(
        total=len(starts), initial=len(starts) - len(waiting), desc=f"embedding with {embedder.name}", unit="block"
    ) as bar:

        def done(result: tuple[int, np.ndarray]) -> None:
            number, block = result
            cache.store(number, block)
            blocks[number] = block
            bar.update()

        if embedder.whole or engine.in_process(len(waiting)):
            for number in waiting:
                done((number, embedder(texts(number))))
        else:
            jobs = 0 if engine.remote else min(engine.jobs, len(waiting))
            settings = embedder_settings(arguments.embedder, arguments.device, arguments.batch, embedder.fingerprint, jobs)
            items = [(number, texts(number)) for number in waiting]
            engine.run(functools.partial(embed_block, settings=settings), items, done)
    return np.concatenate(blocks)


def _do_split(
    arguments: argparse.Namespace,
    split: str,
    embedder_name: str,
    settings: dict[str, Any],
    reports: Reports,
    embeddings: np.ndarray,
    ids: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Find, describe and write the negatives of one split."""
    vectors = embeddings[ids]
    if arguments.strategy == "farthest":
        chosen = {"index": arguments.index, "nlist": arguments.nlist, "nprobe": arguments.nprobe, "seed": arguments.seed}
        strategy: Any = Farthest(vectors, arguments.k, arguments.block, device=arguments.device, **chosen)
    else:
        strategy = FrequencyMatched(vectors, counts, arguments.k, arguments.seed)
    if strategy.k < arguments.k:
        print(f"{split}: k reduced from {arguments.k} to {strategy.k}, there are {len(ids)} unique reports")
    cache = _begin(arguments, _cache_of(arguments, settings, split))
    progress = functools.partial(tqdm, desc=f"{split}: {arguments.strategy}", unit="block")
    negatives = find_negatives(strategy, cache.load, cache.store, progress)
    numbers = diagnose(vectors, counts, negatives, arguments.seed)
    examples = example_pairs(reports.texts.take(pa.array(ids)).to_pylist(), counts, negatives)
    table = np.full((len(reports), strategy.k), -1, dtype=np.int32)
    table[ids] = ids[negatives]
    sizes = {"unique_reports": len(ids), "records": int(counts.sum())}
    found = getattr(strategy, "info", {})
    info = {"embedder": embedder_name, **settings, **found, **sizes, **numbers, "examples": examples}
    NegativeTable(table, info).save(arguments.manifest, split)
    cache.remove()
    _print_numbers(split, info, strategy.k)


def _print_numbers(split: str, info: dict[str, Any], k: int) -> None:
    print(f"{split}: {info['unique_reports']} unique reports of {info['records']} records, k = {k}, {info['strategy']}")
    print(f"  share of reports ever used as a negative  {info['share_used']:.3f}")
    print(f"  mean cosine distance  {info['mean_distance']:.3f}  (random pairs {info['random_mean_distance']:.3f})")
    if "recall" in info:
        where = f"{info['recall_reports']} reports, {info['nprobe']} of {info['nlist']} lists"
        print(f"  recall of the farthest  {info['recall']:.3f}  ({where})")
    print("  AUC of telling swapped from true reports by the text alone; 0.5 is ideal, in brackets random negatives")
    print(f"    logistic regression, held-out records  {info['text_only_auc']:.3f}  ({info['random_text_only_auc']:.3f})")
    print(f"    best possible  {info['marginal_auc']:.3f}  ({info['random_marginal_auc']:.3f})")
    for example in info["examples"]:
        print(f"  example: {example['report']}")
        for negative in example["negatives"]:
            print(f"    negative: {negative}")


class _Cache:
    """Numbered arrays in one folder, each written atomically."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def remove_leftovers(self) -> None:
        """Delete what killed runs were writing, unless another run is at this folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder, os.O_RDONLY)
        weakref.finalize(self, os.close, handle)  # until then others see that somebody is here
        with contextlib.suppress(OSError):  # somebody else is, or the file system has no locks: leave everything
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in self.folder.glob(".*.tmp.npy"):
                path.unlink()
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def load(self, number: int) -> np.ndarray | None:
        """An array stored earlier; None when there is none or it is damaged."""
        try:
            return read_npy(self.folder / f"{number:05d}.npy")
        except (OSError, ValueError):
            return None

    def store(self, number: int, array: np.ndarray) -> None:
        """Keep an array."""
        with atomic_path(self.folder / f"{number:05d}.npy") as temporary:
            np.save(temporary, array, allow_pickle=False)

    def remove(self) -> None:
        """Delete the folder, and with it what a killed run left there."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _cache(arguments: argparse.Namespace, key: list[Any], name: str) -> _Cache:
    """The cache of one step; other inputs or settings have another folder, so stale arrays are never found."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode("utf-8")).hexdigest()[:16]
    return _Cache(arguments.manifest / CACHE / f"{name}-{digest}")


def _cache_of(arguments: argparse.Namespace, settings: dict[str, Any], split: str) -> _Cache:
    """The cache of a split's negatives, which is removed once they are written."""
    return _cache(arguments, [settings, arguments.block], split)


def _begin(arguments: argparse.Namespace, cache: _Cache) -> _Cache:
    if arguments.overwrite:
        cache.remove()
    cache.remove_leftovers()
    return cache


if __name__ == "__main__":
    sys.exit(run(main))
