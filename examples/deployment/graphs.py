"""Graphs of a model against the model: their outputs, their areas under the curve, and how long a recording takes.

    python -m cmelt_plugin.export --checkpoint M --format onnx --int8 --prompts manifests/m/prompts.json --dest graphs
    python -m cmelt_plugin.export --checkpoint M --format torchscript --prompts manifests/m/prompts.json --dest graphs
    python examples/deployment/graphs.py --checkpoint M --graphs graphs --manifest manifests/m

Times are of the processor, so that what else runs on the machine does not count; with several threads they are of the clock.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

import numpy as np
import torch

from cmelt_plugin import load_pretrained
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.metrics.multi_label import macro_auc
from cmelt_plugin.models.inference.portable import FILES, INT8_FILE, ONNX, SIGNAL_FILE, TORCHSCRIPT, Graph, open_graph
from cmelt_plugin.models.inference.predictor import Predictor
from cmelt_plugin.option_types import count
from cmelt_plugin.prompts import load_prompts
from cmelt_plugin.tables import DASH, markdown, percent

KINDS = {"ONNX": (FILES[ONNX], ONNX), "ONNX, 8 bits": (INT8_FILE, ONNX), "TorchScript": (FILES[TORCHSCRIPT], TORCHSCRIPT)}
BATCHES = (1, 8, 32)
ROWS = 64  # recordings at a time where all are scored

Run = Callable[[np.ndarray], Sequence[np.ndarray]]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="the model")
    parser.add_argument("--graphs", type=Path, required=True, help="folder that export wrote into")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest directory with labels")
    parser.add_argument("--prompts", help="class texts, as given to export (those of the manifest directory)")
    parser.add_argument("--split", default="test", help="of the manifest (test)")
    parser.add_argument("--records", type=count, default=100, help="recordings whose outputs are compared (100)")
    parser.add_argument("--threads", type=count, default=1, help="of each engine (1)")
    parser.add_argument("--rounds", type=count, default=50, help="measurements of each time (50)")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    manifest = Manifest.open(args.manifest, args.split)
    labels = manifest.labels()
    if labels is None:
        raise DataError(f"{args.manifest}: {args.split} has no labels")
    classes = json.loads((args.graphs / SIGNAL_FILE).read_text(encoding="utf-8")).get("classes")
    model = load_pretrained(args.checkpoint)
    prompts = None if model.is_classifier else load_prompts(args.prompts or args.manifest / "prompts.json")
    engines: dict[str, Run] = {"PyTorch": _of_module(Graph(model, Predictor(model, prompts)))}
    for name, (file, kind) in KINDS.items():
        if (args.graphs / file).is_file():
            engines[name] = open_graph(args.graphs / file, kind, args.threads)
    store = RecordStore(manifest.store_root)
    contract = model.model.signal

    def recordings(start: int, stop: int) -> np.ndarray:
        return store.read(manifest.shard[start:stop], manifest.row[start:stop])[:, :, : contract.n_samples].astype(np.float32)

    columns = [classes.index(name) for name in labels[1] if name in classes]
    asked = [labels[1].index(name) for name in labels[1] if name in classes]
    scores: dict[str, list[np.ndarray]] = {name: [] for name in engines}
    differences = dict.fromkeys(engines, 0.0)
    for start in range(0, len(manifest), ROWS):
        ecg = recordings(start, start + ROWS)
        expected = engines["PyTorch"](ecg)
        for name, engine in engines.items():
            found = expected if name == "PyTorch" else engine(ecg)
            scores[name].append(found[-1][:, columns])
            if start < args.records:
                rows = slice(0, args.records - start)
                pairs = [np.abs(a[rows] - b[rows]).max() for a, b in zip(found, expected)]
                differences[name] = max(differences[name], float(max(pairs)))
    times = {size: _times(engines, recordings(0, size), args.rounds, args.threads) for size in BATCHES}
    names = [labels[1][index] for index in asked]
    head = ["", "largest difference", "macro AUC", *(f"{size}: {part}" for size in BATCHES for part in ("p50 ms", "p95 ms"))]
    rows = []
    for name in engines:
        auc = macro_auc(labels[0][:, asked], np.concatenate(scores[name]), names)
        cells = [f"{1000 * np.percentile(times[size][name], part):.1f}" for size in BATCHES for part in (50, 95)]
        difference = DASH if name == "PyTorch" else f"{differences[name]:.1g}"
        rows.append([name, difference, percent(auc.macro), *cells])
    print(
        f"{len(manifest)} recordings, {len(names)} classes; outputs of the first {min(args.records, len(manifest))} compared\n"
    )
    print(markdown(head, rows), end="")
    return 0


def _of_module(graph: Graph) -> Run:
    module = graph.eval()

    def call(ecg: np.ndarray) -> Sequence[np.ndarray]:
        with torch.inference_mode():
            return [output.numpy() for output in module(torch.from_numpy(ecg))]

    return call


def _times(engines: dict[str, Run], ecg: np.ndarray, rounds: int, threads: int) -> dict[str, list[float]]:
    """Seconds of each call, engine after engine, so that a busy moment meets all alike."""
    clock = time.process_time if threads == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in engines}
    for number in range(rounds + 3):
        for name, engine in engines.items():
            start = clock()
            engine(ecg)
            if number >= 3:
                times[name].append(clock() - start)
    return times


if __name__ == "__main__":
    sys.exit(run(main))
