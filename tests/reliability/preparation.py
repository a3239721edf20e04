"""A whole preparation of a small data set, as a piece of work that can be forked, killed and done again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from preprocess import labels, mimic_iv_ecg, n3s, table, tokenizer
from tests.preprocess.mimic_layout import write_mimic_layout

RECORDS = 24
FINDINGS = ("sinus rhythm", "atrial fibrillation", "left bundle branch block", "st elevation", "normal ecg", "premature beats")


def commands(source: Path, dest: Path, layout: str) -> Callable[[], int]:
    """Packing, labels, tokenizer and hard negatives, as a user types them one after the other."""
    manifest = ["--manifest", str(dest)]
    packing = [
        "--root",
        str(source),
        "--dest",
        str(dest),
        "--jobs",
        "1",
        "--rows-per-shard",
        "8",
        "--split",
        "0.7",
        "0.2",
        "0.1",
    ]
    if layout == "table":
        packing += ["--table", str(source / "table.csv"), "--report-column", "report", "--id-column", "id"]

    def work() -> int:
        import torch

        torch.set_num_threads(1)
        pack = table.main if layout == "table" else mimic_iv_ecg.main
        code = pack(packing)
        code = code or labels.main([*manifest, "--labels", str(source / "labels.csv")])
        code = code or tokenizer.main([*manifest, "--train-vocab", "60", "--encoder", "tiny"])
        options = ("--embedder", "tfidf", "--strategy", "farthest", "--k", "4", "--block", "4", "--device", "cpu")
        return code or n3s.main([*manifest, *options])

    return work


def write_source(folder: Path) -> Path:
    """Recordings of 5 s, two of them bad, with reports, as a MIMIC layout, as a table, and labels."""
    reports = [f"{FINDINGS[i % 6]} with {FINDINGS[(i * 5 + 1) % 6]} number {i}" for i in range(RECORDS)]
    records = [{"report": report, "seconds": 6.0} for report in reports]
    records[5]["fault"], records[11]["fault"] = "truncated", "garbage_header"
    ids = write_mimic_layout(folder, records)
    paths = {path.stem: path.relative_to(folder) for path in folder.rglob("*.hea")}
    rows = [f"{name},{paths[name]},{report}" for name, report in zip(ids, reports)]
    (folder / "table.csv").write_text("\n".join(["id,path,report", *rows]) + "\n")
    rows = [f"{name},{index % 2},{index % 3 == 0:d}" for index, name in enumerate(ids)]
    (folder / "labels.csv").write_text("\n".join(["record_id,AF,MI", *rows]) + "\n")
    return folder


def warm_up(source: Path, dest: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do it once in this process, which imports everything that forked runs need, without threads that would not survive."""
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)
    assert commands(source, dest, layout)() == 0
