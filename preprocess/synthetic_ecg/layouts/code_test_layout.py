"""Synthetic recordings in the layout of CODE-test: ecg_tracings.hdf5, attributes.csv and annotations/.

No patient is behind them. The readers' tables are the gold standard with random mistakes.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cmelt_plugin import option_types
from cmelt_plugin.data.code_test_annotations import CLASSES, GOLD, READERS
from cmelt_plugin.data.leads import LEADS, lead_indices
from cmelt_plugin.errors import DataError
from preprocess.synthetic_ecg.physiology.leads import MIMIC_LEADS
from preprocess.synthetic_ecg.physiology.subjects import draw_subject
from preprocess.synthetic_ecg.record import plan_record, render

RATE = 400  # Hz
SAMPLES = 4096
README_ORDER = ("I", "II", "III", "aVL", "aVF", "aVR", *LEADS[6:])  # as the README of CODE-test lists them
CODE_OF_FINDING = {"1AVB": "1dAVb", "CRBBB": "RBBB", "CLBBB": "LBBB", "SBRAD": "SB", "AFIB": "AF", "STACH": "ST"}
SECONDS = (10, 10, 7)  # of records 0, 1, 2, 3, …, in turn
MISTAKES = 0.03

EXAMPLE = (
    "example: python -m preprocess.synthetic_ecg.layouts.code_test_layout"
    " --dest data/code-test-synthetic --records 100 --seed 1"
)


def write_code_test_layout(
    dest: Path, n_records: int, seed: int, lead_order: Sequence[str] = README_ORDER, mv_per_unit: float = 1.0
) -> np.ndarray:
    """Write the files; return the gold standard, uint8 ``[n_records, 6]``.

    Args:
        dest: folder, made where missing; files of the same names are replaced.
        n_records: records, each of a subject of its own; every third lasts 7 s, the others 10 s.
        seed: same seed, same files.
        lead_order: the twelve leads in the order of the columns.
        mv_per_unit: millivolts per unit of the numbers.

    Raises:
        DataError: h5py is not installed, or not the twelve leads.
    """
    try:
        import h5py
    except ImportError:
        raise DataError("CODE-test is an HDF5 file; install h5py to write it: pip install h5py") from None
    lead_indices(lead_order)
    columns = [MIMIC_LEADS.index(lead) for lead in lead_order]
    rng = np.random.default_rng([seed, n_records])
    (dest / "annotations").mkdir(parents=True, exist_ok=True)
    gold = np.zeros((n_records, len(CLASSES)), dtype=np.uint8)
    attributes = {"age": rng.integers(18, 95, size=n_records), "sex": rng.choice(["F", "M"], size=n_records)}
    with h5py.File(dest / "ecg_tracings.hdf5", "w") as handle:
        tracings = handle.create_dataset("tracings", (n_records, SAMPLES, len(LEADS)), dtype="f4", fillvalue=0)
        for row in range(n_records):
            plan = plan_record(seed, row, draw_subject(seed, row))
            signal = render(plan, RATE)[columns, : SECONDS[row % len(SECONDS)] * RATE]
            start = (SAMPLES - signal.shape[1]) // 2
            tracings[row, start : start + signal.shape[1]] = signal.T / mv_per_unit
            for finding in plan.findings.labels & CODE_OF_FINDING.keys():
                gold[row, CLASSES.index(CODE_OF_FINDING[finding])] = 1
    pd.DataFrame(attributes).to_csv(dest / "attributes.csv", index=False)
    pd.DataFrame(gold, columns=CLASSES).to_csv(dest / "annotations" / f"{GOLD}.csv", index=False)
    for reader in READERS:
        table = pd.DataFrame(gold ^ (rng.random(gold.shape) < MISTAKES), columns=CLASSES)
        # The table of the network has a column of row numbers in front, as in the original.
        table.to_csv(dest / "annotations" / f"{reader}.csv", index=reader == "dnn")
    return gold


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dest", type=Path, required=True, help="folder to write")
    parser.add_argument("--records", type=option_types.count, default=827, help="number of tracings (default 827)")
    parser.add_argument("--seed", type=option_types.seed, default=1, help="same seed, same files (default 1)")
    args = parser.parse_args(argv)
    gold = write_code_test_layout(args.dest, args.records, args.seed)
    counts = ", ".join(f"{name} {count}" for name, count in zip(CLASSES, gold.sum(axis=0)))
    print(f"{args.records} synthetic tracings in {args.dest}; positives: {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
