"""C-MELT's collation, ours and the naive one, over the same records, reports and embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks.harness import material
from benchmarks.harness.system import BenchmarkedSystem
from benchmarks.naive.records import write_mat_files
from benchmarks.systems.cmelt.text_collation import NaiveCollator
from cmelt_plugin.data.batches.negatives import NegativeTable
from cmelt_plugin.data.directory.split_files import write_split
from cmelt_plugin.data.millivolts import batch_in_mv
from cmelt_plugin.data.store.record_store import ROW_SHAPE, RecordStore
from preprocess.negatives.farthest import Farthest

K = 64


class CollationPair:
    """See :meth:`BenchmarkedSystem.collation`."""

    def __init__(self, system: BenchmarkedSystem, folder: Path, n_records: int, n_reports: int, encoder: str) -> None:
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
        self.dataset = system.dataset(folder, "train", all_tokens, system.inputs(prepared=False))
        self.dataset.inputs.negatives = NegativeTable(_sidecar(gallery, len(texts)), {})

    def ours(self, rows: np.ndarray) -> dict[str, Any]:
        """A batch of ours, as the tasks collate it."""
        return self.dataset.collater(rows.tolist(), digital=True)

    def check(self, rows: np.ndarray, n_reports: int = 4) -> list[str]:
        """Assert that both ways make the same kind of batch, with negatives from the same farthest reports."""
        ours, naive = batch_in_mv(self.ours(rows)), self.naive(rows, np.random.default_rng(0))
        torch.testing.assert_close(naive["net_input"]["ecg"], ours["net_input"]["ecg"], rtol=0, atol=0)
        for batch in (ours, naive):
            if int((~batch["aligned"]).sum()) != len(rows) // 2:
                raise AssertionError("half of a batch must be swapped")
            if (batch["text_report_id"] == batch["report_id"]).ne(batch["aligned"]).any():
                raise AssertionError("exactly the swapped rows must carry another report")
            if not torch.equal(batch["net_input"]["mlm_mask"].any(dim=1), torch.ones(len(rows), dtype=torch.bool)):
                raise AssertionError("every text must have a masked word")
        for report in range(n_reports):
            searched = set(self.naive.farthest(report).tolist())
            looked_up = set(self.dataset.inputs.negatives.neighbours[report].tolist())
            # Two distances may be equal but for the last bit, and then either is the 64th.
            if len(searched & looked_up) < K - 1:
                raise AssertionError(f"report {report}: the sidecar and the search in the collator name other negatives")
        return ["same recordings in mV, half of the rows swapped, negatives from the same 64 reports"]


def _sidecar(gallery: np.ndarray, n_used: int) -> np.ndarray:
    """Negatives of the reports that occur in the split, rows of -1 for the others."""
    table = np.full((len(gallery), K), -1, dtype=np.int32)
    search = Farthest(gallery, K, block=n_used, device="cpu")
    table[:n_used] = search.draw(0)
    return table
