"""Result folders that tests of tables and pages share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cmelt_plugin.evaluation.metrics.multi_label import macro_auc
from cmelt_plugin.evaluation.result_files import Result, Scores, write_result

NAMES = ("HYP", "NORM", "MI", "CD", "STTC")


def example_scores(n_records: int = 120, seed: int = 0) -> Scores:
    """Two records per subject; scores that know something of the labels; HYP is rare, NORM sometimes unknown."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n_records, len(NAMES))) < [0.05, 0.5, 0.3, 0.3, 0.4]).astype(np.float32)
    labels[:3, 0] = 1
    scores = (labels + rng.normal(size=labels.shape)).astype(np.float32)
    labels[5, 1] = np.nan
    ids = [f"r{i}" for i in range(n_records)]
    return Scores(ids, [f"s{i // 2}" for i in range(n_records)], NAMES, labels, scores)


def write_example(folder: Path, kind: str = "zero_shot", scores: Scores | None = None, **changes: object) -> Result:
    """A result of the PTB-XL super classes with curves and intervals."""
    scores = example_scores() if scores is None else scores
    auc = macro_auc(scores.labels, scores.scores, scores.names)
    positives = np.nansum(scores.labels, axis=0)
    per_class = {
        name: {
            "positives": float(positives[index]),
            "negatives": float((scores.labels[:, index] == 0).sum()),
            "auc": auc.per_class[name],
            "auprc": 0.5,
            "threshold": 0.6,
        }
        for index, name in enumerate(scores.names)
    }
    values = {
        "kind": kind,
        "model": "ours",
        "checkpoint": "checkpoints/mine.pt",
        "data_set": "ptb-xl",
        "label_set": "ptb-xl-super",
        "split": "test",
        "n_records": len(scores.record_id),
        "n_subjects": len(set(scores.subject_id)),
        "metrics": {"macro_auc": auc.macro},
        "intervals": {"macro_auc": (auc.macro - 0.03, auc.macro + 0.02), "auc/MI": (0.6, 0.9)},
        "per_class": per_class,
        "command": "python -m cmelt_plugin.evaluation.zero_shot --checkpoint checkpoints/mine.pt",
        **changes,
    }
    result = Result(**values)
    write_result(folder, result, scores)
    return result
