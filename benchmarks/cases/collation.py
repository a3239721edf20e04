"""Collation of a whole batch: reading, lead mask, swapped reports, word mask; against negatives embedded while collating.

One process, one thread, as in one data-loader worker: 128 pairs, half of which get a negative report. Released code reads a
.mat file per record and, for every swapped row, runs a text encoder of Flan-T5-small's size over the row's report and
searches the embeddings of all unique reports (180,000, 512 wide) for the 64 farthest. Here negatives are found once, before
training, and drawing one is a look-up; the cost of finding them is measured by ``n3s``.

The weights of the small text encoder are random, which does not change its speed. Texts are synthetic reports of about
50 tokens; beyond the first 200 the unique reports repeat them under other embeddings.

Our batch is the one that training collates: ECGs in int16, as they are stored, which the task turns into mV on the device.

Physical limit: reading. ``share of time spent reading`` says how much of a batch's time is the copy of its recordings, which
``record_reading`` compares with the memory's speed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks.harness import material
from benchmarks.harness.options import Options, one_thread
from benchmarks.harness.outcome import Outcome
from benchmarks.harness.timing import figure_of, race
from benchmarks.naive.records import write_mat_files
from benchmarks.naive.text_collation import NaiveCollator
from cmelt_plugin.data.batches.negatives import NegativeTable
from cmelt_plugin.data.directory.split_files import write_split
from cmelt_plugin.data.millivolts import batch_in_mv
from cmelt_plugin.data.store.record_store import ROW_SHAPE, RecordStore
from preprocess.negatives.farthest import Farthest

K = 64


class Pair:
    """Our data set and the naive collator over the same records, reports and embeddings."""

    def __init__(self, folder: Path, n_records: int, n_reports: int, encoder: str) -> None:
        from cmelt_plugin.huggingface import import_transformers
        from preprocess.text.hf_tokenizer import load_tokenizer

        shard, row = material.write_store(folder, n_records)
        distinct = RecordStore(folder).read(shard[: material.DISTINCT], row[: material.DISTINCT])
        mat_files = write_mat_files(folder / "mat", distinct)
        texts = material.report_texts(min(n_records, 200))
        report_ids = np.arange(n_records) % len(texts)
        ids = pa.array(np.arange(n_records)).cast(pa.string())
        meta = material.meta_table(ids, report_ids, ids)
        write_split(folder, "train", RecordStore(folder).files, shard, row, np.full(n_records, ROW_SHAPE[1]), meta)

        text_folder = material.make_tokenizer(folder / "tokenizer", texts, encoder).folder
        model = import_transformers().T5EncoderModel.from_pretrained(text_folder).eval()
        tokens = material.tokenise(text_folder, texts)
        all_tokens = material.repeat_tokens(tokens, n_reports)
        naive = NaiveCollator(
            [texts[i % len(texts)] for i in range(n_reports)],
            report_ids,
            [mat_files[i % len(mat_files)] for i in range(n_records)],
            load_tokenizer(str(text_folder)),
            model,
            np.zeros((1, model.config.d_model), dtype=np.float32),
            tokens.info["mask_id"],
            tokens.info["special_ids"],
            K,
        )
        gallery = material.unit_vectors(n_reports, model.config.d_model)
        gallery[: len(texts)] = np.concatenate([naive.embed(text) for text in texts])
        naive.index.reset()
        naive.index.add(gallery)
        self.naive = naive
        negatives = NegativeTable(_sidecar(gallery, len(texts)), {})
        self.dataset = material.paired_dataset(folder, "train", all_tokens, negatives)

    def ours(self, rows: np.ndarray) -> dict[str, Any]:
        """A batch of ours, as the tasks collate it."""
        return self.dataset.collater(rows.tolist(), digital=True)


def _sidecar(gallery: np.ndarray, n_used: int) -> np.ndarray:
    """Negatives of the reports that occur in the split, rows of -1 for the others."""
    table = np.full((len(gallery), K), -1, dtype=np.int32)
    search = Farthest(gallery, K, block=n_used, device="cpu")
    table[:n_used] = search.draw(0)
    return table


def check(pair: Pair, rows: np.ndarray, n_reports: int = 4) -> list[str]:
    """Assert that both ways make the same kind of batch, with negatives from the same farthest reports."""
    ours, naive = batch_in_mv(pair.ours(rows)), pair.naive(rows.tolist(), np.random.default_rng(0))
    torch.testing.assert_close(naive["net_input"]["ecg"], ours["net_input"]["ecg"], rtol=0, atol=0)
    for batch in (ours, naive):
        if int((~batch["aligned"]).sum()) != len(rows) // 2:
            raise AssertionError("half of a batch must be swapped")
        if (batch["text_report_id"] == batch["report_id"]).ne(batch["aligned"]).any():
            raise AssertionError("exactly the swapped rows must carry another report")
        if not torch.equal(batch["net_input"]["mlm_mask"].any(dim=1), torch.ones(len(rows), dtype=torch.bool)):
            raise AssertionError("every text must have a masked word")
    for report in range(n_reports):
        searched = set(pair.naive.farthest(report).tolist())
        looked_up = set(pair.dataset.inputs.negatives.neighbours[report].tolist())
        # Two distances may be equal but for the last bit, and then either is the 64th.
        if len(searched & looked_up) < K - 1:
            raise AssertionError(f"report {report}: the sidecar and the search in the collator name other negatives")
    return ["same recordings in mV, half of the rows swapped, negatives from the same 64 reports"]


def run(options: Options) -> Outcome:
    """See the module's docstring."""
    n_records, n_reports, batch, encoder = (32, 200, 16, "tiny") if options.quick else (512, 180_000, 128, "small")
    with options.temporary() as folder, one_thread():
        pair = Pair(folder, n_records, n_reports, encoder)
        rng = np.random.default_rng(0)
        rows = rng.choice(n_records, batch, replace=False)
        checks = check(pair, rows)
        calls = 1 if options.quick else 8
        # Of the naive way a part of a batch is enough: its cost is per row, and a whole one takes seconds.
        part = rows[: max(2, batch // 16)]

        def ours() -> None:
            for _ in range(calls):
                pair.ours(rows)

        ecg = pair.dataset.read_ecg(rows, digital=True)

        def ours_without_reading() -> None:
            pair.dataset.read_ecg = lambda rows, digital: ecg
            try:
                ours()
            finally:
                del pair.dataset.read_ecg

        contestants = {
            "ours": ours,
            "ours without reading": ours_without_reading,
            "released way": lambda: pair.naive(part.tolist(), rng),
        }
        timed = race(contestants, options.choose_rounds(5))
    pairs = {"ours": calls * batch, "ours without reading": calls * batch, "released way": len(part)}
    seconds = {name: timed.seconds[name] / pairs[name] for name in contestants}
    share = 1 - seconds["ours without reading"] / seconds["ours"]
    return Outcome(
        ratios=[
            figure_of("ours / released way", seconds["released way"] / seconds["ours"], "x", "higher"),
        ],
        figures=[
            figure_of("ours", 1 / seconds["ours"], "pairs/s", "higher"),
            figure_of("ours without reading", 1 / seconds["ours without reading"], "pairs/s", "higher"),
            figure_of("released way", 1 / seconds["released way"], "pairs/s"),
            figure_of("share of time spent reading", 100 * share, "%"),
        ],
        checks=checks,
        notes=[f"released way: {len(part)} rows at a time, encoder of size {encoder}, {n_reports:,} unique reports"],
        settings={"records": n_records, "reports": n_reports, "batch": batch, "encoder": encoder},
    )
