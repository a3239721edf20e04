"""How far a synthetic cohort is from real recordings: distributions of what is measured, and how well a classifier tells them
apart.

Statistics alone are compared. Of each recording are measured its rate and rhythm, intervals, axis, the waves of each lead, how
beats differ from each other, and its spectrum. A classifier (gradient boosting, five folds) that sees these numbers tells real
from synthetic with an AUC of 0.5 where they are alike, and of 1 where each recording gives itself away.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import ks_2samp

from cmelt_plugin import option_types
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.contract import Rejected
from cmelt_plugin.data.readers.folders import find_stems
from cmelt_plugin.data.readers.wfdb_records import read_wfdb
from cmelt_plugin.data.signals import at_contract_rate, calibrate
from cmelt_plugin.errors import DataError
from preprocess.synthetic_ecg.delineation import RATE, amplitudes, delineate, frontal_axis

EXAMPLE = """example:
  python -m preprocess.synthetic_ecg.realism --real data/ptb-xl --cohort data/synthetic --cohort data/former --records 400
"""
STEP = 0.005  # mV, to which all are rounded, or the finest steps would give a device away
FOLDS = 8  # of PTB-XL: the last two are for tests
BANDS = (
    (0.05, 0.5),
    (0.5, 1),
    (1, 3),
    (3, 6),
    (6, 10),
    (10, 15),
    (15, 25),
    (25, 40),
    (40, 49),
    (51, 59),
    (61, 100),
    (100, 150),
)
GROUPS = ("rhythm", "intervals", "waves", "beats", "spectrum")


def paths_of(root: Path) -> list[Path]:
    """Recordings of a folder, at most those of PTB-XL's first eight folds at 500 Hz where it is PTB-XL's.

    Raises:
        DataError: no recordings there.
    """
    table = root / "ptbxl_database.csv"
    if table.is_file():
        with open(table, encoding="utf-8", newline="") as handle:
            rows = [row for row in csv.DictReader(handle) if int(float(row["strat_fold"])) <= FOLDS]
        return [root / row["filename_hr"] for row in rows]
    found = [root / stem for stem in find_stems(root, (".hea",))]
    if not found:
        raise DataError(f"{root}: no WFDB records there; name the folder of a cohort, of PTB-XL or of header files")
    return found


def measures_of(path: Path) -> dict[str, float] | None:
    """Numbers of a recording by name, each beginning with its group; None where it cannot be read or measured."""
    try:
        ecg = at_contract_rate(calibrate(read_wfdb(str(path))))
    except Rejected:
        return None
    ecg = np.rint(ecg / STEP) * STEP
    found = delineate(ecg)
    if found is None or ecg.shape[1] < 9 * RATE:
        return None
    rr = np.diff(found.complexes) / RATE
    values = {
        "rhythm/rate": 60 / rr.mean(),
        "rhythm/sdnn": 1000 * rr.std(),
        "rhythm/rmssd": 1000 * np.sqrt((np.diff(rr) ** 2).mean()) if len(rr) > 1 else 0.0,
        "intervals/pr": 1000 * (found.onset - found.p_onset) / RATE if found.p_onset >= 0 else 0.0,
        "intervals/qrs": 1000 * (found.offset - found.onset) / RATE,
        "intervals/qt": 1000 * (found.t_end - found.onset) / RATE,
        "intervals/axis": frontal_axis(found.beat[:, found.onset : found.offset]),
    }
    sizes = amplitudes(found.beat, found.onset, found.offset, found.t_end)
    for name, lead in zip(LEADS, range(len(LEADS))):
        values.update({f"waves/{wave} {name}": float(size[lead]) for wave, size in sizes.items()})
    p_part = found.beat[1, max(found.onset - 110, 0) : max(found.onset - 10, 1)]
    values["waves/p II"] = float(np.ptp(p_part)) if len(p_part) else 0.0
    values.update(_differences(ecg, found.complexes, found.beat, found.onset, found.offset))
    values.update(_spectrum(ecg))
    return values


def _differences(ecg: np.ndarray, complexes: np.ndarray, beat: np.ndarray, onset: int, offset: int) -> dict[str, float]:
    """How beats differ from their median, within the complex and ahead of it, where nothing but noise does."""
    first, last = 150, beat.shape[1] - 150
    whole = [c for c in complexes if c >= first and c + last <= ecg.shape[1]]
    windows = np.stack([ecg[:, c - first : c + last] for c in whole])
    windows = windows - np.median(windows, axis=2, keepdims=True)
    rest = windows - np.median(windows, axis=0)
    qrs = rest[:, :, onset:offset].std(axis=(0, 2)) / np.ptp(beat[:, onset:offset], axis=1).clip(0.05)
    return {
        "beats/complex limb": float(np.log(np.median(qrs[:6]) + 1e-4)),
        "beats/complex chest": float(np.log(np.median(qrs[6:]) + 1e-4)),
        "beats/noise": float(np.log(np.median(np.abs(np.diff(rest[:, :, 10:60], axis=2))) + 1e-4)),
        "beats/drift": float(np.log(np.median(rest[:, :, 300:].std(axis=2)) + 1e-4)),
    }


def _spectrum(ecg: np.ndarray) -> dict[str, float]:
    """Log power of bands, median over limb and over chest leads, and of both mains."""
    power = np.abs(np.fft.rfft((ecg - ecg.mean(axis=1, keepdims=True)) * np.hanning(ecg.shape[1]), axis=1)) ** 2 / ecg.shape[1]
    frequency = np.fft.rfftfreq(ecg.shape[1], 1 / RATE)
    values = {}
    for low, high in (*BANDS, (49, 51), (59, 61)):
        band = np.log10(power[:, (frequency >= low) & (frequency < high)].mean(axis=1) + 1e-9)
        values[f"spectrum/limb {low}-{high} Hz"] = float(np.median(band[:6]))
        values[f"spectrum/chest {low}-{high} Hz"] = float(np.median(band[6:]))
    return values


def table_of(root: Path, records: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Measures ``[records, M]`` of recordings drawn from a folder, and their names.

    Raises:
        DataError: fewer than ten could be measured.
    """
    paths = paths_of(root)
    chosen = np.random.default_rng(seed).permutation(len(paths))[:records]
    rows = [row for row in (measures_of(paths[i]) for i in chosen) if row is not None]
    if len(rows) < 10:
        raise DataError(f"{root}: {len(rows)} of {len(chosen)} recordings could be measured; ten are needed")
    names = list(rows[0])
    return np.array([[row[name] for name in names] for row in rows]), names


def separability(real: np.ndarray, synthetic: np.ndarray, seed: int) -> float:
    """AUC of a classifier that tells the rows of two tables apart, by cross-validation; 0.5 = alike."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    rows, kind = np.concatenate([real, synthetic]), np.repeat([0, 1], [len(real), len(synthetic)])
    model = HistGradientBoostingClassifier(max_iter=80, learning_rate=0.1, max_leaf_nodes=8, random_state=seed)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    return float(roc_auc_score(kind, cross_val_predict(model, rows, kind, cv=folds, method="predict_proba")[:, 1]))


def report(real: np.ndarray, cohorts: dict[str, np.ndarray], names: list[str], seed: int) -> str:
    """What the command prints."""
    lines = ["measure: quartiles of the real recordings; per cohort quartiles and the Kolmogorov-Smirnov distance"]
    for column, name in enumerate(names):
        parts = [_quartiles(real[:, column])]
        for table in cohorts.values():
            distance = ks_2samp(real[:, column], table[:, column]).statistic
            parts.append(f"{_quartiles(table[:, column])} {distance:.2f}")
        lines.append(f"{name:24} " + "  ".join(parts))
    lines.append("AUC that tells real from synthetic, by what is measured (0.5 = alike)")
    for label, table in cohorts.items():
        aucs = {}
        for group in GROUPS:
            columns = [i for i, name in enumerate(names) if name.startswith(group)]
            aucs[group] = separability(real[:, columns], table[:, columns], seed)
        aucs["all"] = separability(real, table, seed)
        mean = np.mean([ks_2samp(real[:, i], table[:, i]).statistic for i in range(len(names))])
        lines.append(
            f"{label}: " + ", ".join(f"{group} {auc:.3f}" for group, auc in aucs.items()) + f"; mean distance {mean:.3f}"
        )
    return "\n".join(lines)


def _quartiles(values: np.ndarray) -> str:
    return "/".join(f"{value:.3g}" for value in np.quantile(values, (0.25, 0.5, 0.75)))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the comparison.

    Raises:
        DataError: a folder without recordings that can be measured.
    """
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, action="append", required=True, help="folder of real recordings; may be repeated")
    parser.add_argument("--cohort", type=Path, action="append", required=True, help="folder of a cohort; may be repeated")
    parser.add_argument("--records", type=option_types.count, default=400, help="recordings of each folder (default 400)")
    parser.add_argument("--seed", type=option_types.seed, default=1, help="which recordings (default 1)")
    args = parser.parse_args(argv)
    tables = [table_of(root, args.records, args.seed) for root in args.real]
    real, names = np.concatenate([table for table, _ in tables]), tables[0][1]
    cohorts = {str(root): table_of(root, args.records, args.seed)[0] for root in args.cohort}
    print(f"{len(real)} real recordings; " + ", ".join(f"{len(table)} of {root}" for root, table in cohorts.items()))
    print(report(real, cohorts, names, args.seed))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
