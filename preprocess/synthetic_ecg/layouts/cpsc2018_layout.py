"""Write synthetic recordings in the layout of CPSC2018.

Like the original they carry one to three of nine classes and last different times, here 6 to 15 s.
No patient is behind these files; they serve to try out software.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import savemat
from tqdm import tqdm

from preprocess.data_sets.snomed import CPSC2018
from preprocess.synthetic_ecg.layouts.challenge_records import (
    draw,
    layout_arguments,
    patient_of,
    samples,
    whole_folder,
    write_wfdb_mat,
)

# CPSC2018's number of each class, and the label of a synthetic record that means it.
NUMBERS = {"NORM": 1, "AFIB": 2, "1AVB": 3, "CLBBB": 4, "CRBBB": 5, "PAC": 6, "VPC": 7, "STD": 8, "STE": 9}
CLASS_OF_LABEL = {
    "AFIB": "AFIB",
    "1AVB": "1AVB",
    "CLBBB": "CLBBB",
    "CRBBB": "CRBBB",
    "PAC": "PAC",
    "PVC": "VPC",
    "STD_": "STD",
    "STE_": "STE",
}
MAX_LABELS = 3
SECONDS = (6, 15)
RATE = 500
EXAMPLE = "python -m preprocess.synthetic_ecg.layouts.cpsc2018_layout --records 200 --dest data/cpsc2018-synthetic"


def classes_of(labels: frozenset[str]) -> list[str]:
    """Classes of CPSC2018 that a synthetic record shows, by their numbers; none if it fits into none."""
    if {"NORM", "SR"} <= labels:
        return ["NORM"]
    classes = {CLASS_OF_LABEL[label] for label in labels if label in CLASS_OF_LABEL}
    return sorted(classes, key=NUMBERS.__getitem__)


def write_cpsc2018_layout(dest: Path, n_records: int, seed: int = 1, challenge: bool = False) -> dict[str, list[str]]:
    """Write ``n_records`` recordings and, in the original layout, REFERENCE.csv; return the classes of each.

    Args:
        dest: folder, empty or missing.
        n_records: how many, up to 9,999.
        seed: same seed, same files.
        challenge: the same recordings as PhysioNet's challenges have them: WFDB records with diagnoses in the header.

    Raises:
        DataError: ``dest`` holds something.
    """
    code_of = {name: code for code, name in reversed(list(CPSC2018.items()))}
    classes_of_record: dict[str, list[str]] = {}
    index = 0
    with whole_folder(Path(dest)) as folder, tqdm(total=n_records, unit="record", desc="CPSC2018 layout") as bar:
        while len(classes_of_record) < n_records:
            plan = draw(seed, index)
            index += 1
            classes = classes_of(plan.findings.labels)
            if not 1 <= len(classes) <= MAX_LABELS:
                continue  # such recordings are not in CPSC2018
            name = f"A{len(classes_of_record) + 1:04d}"
            signal, (sex, age) = _signal(seed, index, samples(plan)), patient_of(plan)
            if challenge:
                codes = ",".join(code_of[label] for label in classes)
                comments = [f"# Age: {age}", f"# Sex: {sex}", f"# Dx: {codes}", "# Rx: Unknown", "# Hx: Unknown"]
                write_wfdb_mat(folder / f"g{1 + len(classes_of_record) // 1000}" / name, signal, comments)
            else:
                path = folder / f"TrainingSet{1 + 3 * len(classes_of_record) // n_records}" / f"{name}.mat"
                path.parent.mkdir(exist_ok=True)
                fields = {"sex": sex, "age": age, "data": signal.astype(np.float64)}
                savemat(path, {"ECG": fields}, do_compression=True)
            classes_of_record[name] = classes
            bar.update()
        if not challenge:
            _write_reference(folder / "REFERENCE.csv", classes_of_record)
    return classes_of_record


def _signal(seed: int, index: int, ten_seconds: np.ndarray) -> np.ndarray:
    """6 to 15 s of a recording; what follows its 10 s is the recording backwards, so that nothing jumps."""
    rng = np.random.default_rng([seed, index, len("seconds")])
    there_and_back = np.concatenate([ten_seconds, ten_seconds[:, ::-1]], axis=1)
    return there_and_back[:, : int(rng.integers(SECONDS[0] * RATE, SECONDS[1] * RATE))]


def _write_reference(path: Path, classes: dict[str, list[str]]) -> None:
    with open(path, "w", encoding="ascii", newline="") as handle:
        table = csv.writer(handle, lineterminator="\n")
        table.writerow(["Recording", "First_label", "Second_label", "Third_label"])
        for name, labels in classes.items():
            table.writerow([name, *(NUMBERS[label] for label in labels), *[""] * (MAX_LABELS - len(labels))])


def main(argv: Sequence[str] | None = None) -> int:
    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--challenge", action="store_true", help="WFDB records as in PhysioNet's challenges")

    args = layout_arguments(__doc__, EXAMPLE, argv, more)
    classes_of_record = write_cpsc2018_layout(args.dest, args.records, args.seed, args.challenge)
    print(f"{len(classes_of_record)} records in {args.dest}")
    for name in NUMBERS:
        print(f"  {name:6} {sum(name in classes for classes in classes_of_record.values())}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
