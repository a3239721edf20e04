"""Synthetic recordings in the layout of the PhysioNet/CinC Challenge 2021, with a ptbxl_database.csv for its PTB-XL part.

No patient is behind them. All eight sources occur, with their rates and with lengths from 5 to 60 s; what is labelled is
what :mod:`preprocess.synthetic_ecg.labels` found in the signal, in the challenge's SNOMED CT codes.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import csv
import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.io

from cmelt_plugin import option_types
from cmelt_plugin.data.leads import LEADS
from preprocess.synthetic_ecg.physiology.leads import MIMIC_LEADS
from preprocess.synthetic_ecg.physiology.rhythm import SECONDS
from preprocess.synthetic_ecg.physiology.subjects import draw_subject
from preprocess.synthetic_ecg.record import plan_record, render

UNITS_PER_MV = 1000
DATABASE = "ptbxl_database.csv"


class Source(NamedTuple):
    """How a source names its records (prefix, digits, first number), its rate in Hz and its lengths in s, in turn."""

    prefix: str
    digits: int
    first: int
    rate: int
    seconds: tuple[int, ...]


SOURCES = {
    "cpsc_2018": Source("A", 4, 1, 500, (12, 7, 16, 10)),
    "georgia": Source("E", 5, 1, 500, (10, 10, 5)),
    "ptb-xl": Source("HR", 5, 1, 500, (10,)),
    "chapman_shaoxing": Source("JS", 5, 1, 500, (10,)),
    "ningbo": Source("JS", 5, 10647, 500, (10,)),
    "cpsc_2018_extra": Source("Q", 4, 1, 500, (11, 23)),
    "ptb": Source("S", 4, 1, 1000, (32,)),
    "st_petersburg_incart": Source("I", 4, 1, 257, (60,)),  # half an hour in the original
}
# Sources of records 0, 1, 2, …, in turn: mostly those of the diagnosis task and, for pairs of recordings, PTB-XL.
TURN = ("cpsc_2018", "georgia", "ptb-xl", "ptb-xl", "cpsc_2018", "georgia", "ptb-xl", *SOURCES)

# SNOMED CT codes of the findings; of equivalent ones both occur, in turn. The last three are not scored.
CODES = {
    "SR": ("426783006",),
    "SBRAD": ("426177001",),
    "STACH": ("427084000",),
    "AFIB": ("164889003",),
    "AFLT": ("164890007",),
    "PACE": ("10370003",),
    "CLBBB": ("164909002", "733534002"),
    "CRBBB": ("59118001", "713427006"),
    "LVOLT": ("251146004",),
    "1AVB": ("270492004",),
    "PVC": ("427172004", "17338001"),
    "PAC": ("284470004", "63593006"),
    "INVT": ("59931005",),
    "STD_": ("429622005",),
    "STE_": ("164931005",),
    "LVH": ("164873001",),
    "LAD": ("39732003",),
    "RAD": ("47665007",),
    "LAFB": ("445118002",),
    "IRBBB": ("713426002",),
    "IVCD": ("698252002",),
    "LPR": ("164947007",),
    "LNGQT": ("111975006",),
    "QWAVE": ("164917005",),
    "SARRH": ("427393009",),
    "PRWP": ("365413008",),
    "TAB_": ("164934002",),
}

EXAMPLE = (
    "example: python -m preprocess.synthetic_ecg.layouts.physionet2021_layout"
    " --dest data/cinc2021-synthetic --records 60 --seed 1"
)


def write_physionet2021_layout(dest: Path, n_records: int, seed: int) -> dict[str, list[str]]:
    """Write ``SOURCE/g1/NAME.hea`` and ``.mat``, and ptbxl_database.csv; return the codes of each record by name.

    Of PTB-XL's people every other one has two recordings, the rest one; elsewhere each recording is a person's only one.

    Args:
        dest: folder, made where missing; files of the same names are replaced.
        n_records: recordings over all sources.
        seed: same seed, same files.
    """
    written: dict[str, list[str]] = {}
    patients: list[tuple[int, int, int, int, str]] = []
    counts: Counter = Counter()
    rng = np.random.default_rng([seed, n_records])
    columns = [MIMIC_LEADS.index(lead) for lead in LEADS]
    for index in range(n_records):
        source = TURN[index % len(TURN)]
        kind, number = SOURCES[source], counts[source]
        counts[source] += 1
        name = f"{kind.prefix}{kind.first + number:0{kind.digits}d}"
        # Three recordings of PTB-XL are of two people.
        subject = 1_000_000 + 2 * (number // 3) + number % 3 // 2 if source == "ptb-xl" else index
        age, sex = (int(x) for x in np.random.default_rng([seed, subject]).integers([20, 0], [90, 2]))
        plan = plan_record(seed, index, draw_subject(seed, subject))
        seconds = kind.seconds[number % len(kind.seconds)]
        parts = []
        for part in range(-(-seconds // round(SECONDS))):  # the same beats with other noise
            parts.append(render(dataclasses.replace(plan, index=index + part * 10_000_000), kind.rate)[columns])
        signal = np.concatenate(parts, axis=1)[:, : seconds * kind.rate]
        codes = [CODES[label][index % len(CODES[label])] for label in sorted(plan.findings.labels & CODES.keys())]
        _write_record(dest / source / "g1", name, signal, kind.rate, age, "Female" if sex else "Male", codes)
        written[name] = codes
        if source == "ptb-xl":
            time = np.datetime64("1990-01-01T08:00:00") + int(rng.integers(10**8))
            patients.append((number + 1, subject, age, sex, str(time).replace("T", " ")))
    with open(dest / DATABASE, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(("ecg_id", "patient_id", "age", "sex", "recording_date"))
        writer.writerows((number, f"{subject}.0", f"{age}.0", sex, time) for number, subject, age, sex, time in patients)
    return written


def _write_record(folder: Path, name: str, signal: np.ndarray, rate: int, age: int, sex: str, codes: Sequence[str]) -> None:
    """``signal`` is ``[12, T]`` in mV, in the order of ``LEADS``."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = np.clip(np.rint(signal * UNITS_PER_MV), -32767, 32767).astype(np.int16)
    scipy.io.savemat(folder / f"{name}.mat", {"val": steps}, format="4")  # 24 bytes before the samples
    checksums = steps.sum(axis=1, dtype=np.int64) % 65536
    lines = [f"{name} {len(LEADS)} {rate} {steps.shape[1]}"]
    for lead, first, checksum in zip(LEADS, steps[:, 0], checksums):
        lines.append(f"{name}.mat 16x1+24 {UNITS_PER_MV}.0(0)/mV 16 0 {first} {checksum} 0 {lead}")
    lines += [f"# Age: {age}", f"# Sex: {sex}", f"# Dx: {','.join(codes)}", "# Rx: Unknown", "# Hx: Unknown", "# Sx: Unknown"]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n", encoding="ascii")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dest", type=Path, required=True, help="folder to write")
    parser.add_argument("--records", type=option_types.count, required=True, help="number of recordings")
    parser.add_argument("--seed", type=option_types.seed, default=1, help="same seed, same files (default 1)")
    args = parser.parse_args(argv)
    written = write_physionet2021_layout(args.dest, args.records, args.seed)
    print(f"{len(written)} synthetic recordings in {args.dest}, and {args.dest / DATABASE}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
