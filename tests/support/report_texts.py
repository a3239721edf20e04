"""Made-up reports for tests of tokenizers and negatives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cmelt_plugin.data.text.reports import write_reports

RHYTHMS = ["sinus rhythm", "sinus bradycardia", "atrial fibrillation", "atrial flutter", "junctional rhythm"]
AXES = ["", "left axis deviation", "right axis deviation", "indeterminate axis"]
FINDINGS = [
    "",
    "normal ecg",
    "left bundle branch block",
    "right bundle branch block",
    "inferior infarct age undetermined",
    "nonspecific t wave changes",
    "left ventricular hypertrophy",
    "prolonged qt interval",
]


def make_reports(n: int, seed: int = 0) -> list[str]:
    """``n`` different reports, short ones first."""
    rng = np.random.default_rng(seed)
    texts: dict[str, None] = {"sinus rhythm normal ecg": None}
    while len(texts) < n:
        findings = rng.choice(FINDINGS, rng.integers(1, 4), replace=False)
        parts = [str(rng.choice(RHYTHMS)), str(rng.choice(AXES)), *map(str, findings)]
        texts[" ".join(part for part in parts if part)] = None
    return sorted(texts, key=len)


def write_directory(directory: Path, n: int, split_reports: dict[str, np.ndarray] | None = None, seed: int = 0) -> list[str]:
    """A manifest directory as far as texts are concerned; every split's report ids as given, else 5 n records by 1/rank."""
    directory.mkdir(parents=True, exist_ok=True)
    texts = make_reports(n, seed)
    if split_reports is None:
        frequency = 1 / np.arange(1, n + 1)
        drawn = np.random.default_rng(seed).choice(n, 4 * n, p=frequency / frequency.sum())
        split_reports = {"train": np.concatenate([np.arange(n), drawn])}
    counts = np.zeros(n, dtype=np.int64)
    for split, ids in split_reports.items():
        ids = np.asarray(ids, dtype=np.int32)
        counts += np.bincount(ids[ids >= 0], minlength=n)
        pq.write_table(pa.table({"report_id": ids}), directory / f"{split}.meta.parquet")
        (directory / f"{split}.tsv").write_text(".\n")
    write_reports(directory, texts, counts)
    return texts
