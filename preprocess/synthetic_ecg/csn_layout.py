"""Write synthetic recordings in the layout of CSN (PhysioNet's ecg-arrhythmia 1.0.0).

Diagnoses are SNOMED CT codes in the headers; some, as in the original, belong to none of the 38 classes, and the table
of conditions has several abbreviations for some codes. No patient is behind these files; they serve to try out software.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import csv
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from cmelt_plugin.prompts import load_prompts
from preprocess.data_sets.csn_labels import CONDITIONS_FILE
from preprocess.data_sets.snomed import CSN
from preprocess.synthetic_ecg.challenge_records import (
    draw,
    draw_patient,
    layout_arguments,
    samples,
    whole_folder,
    write_wfdb_mat,
)
from preprocess.synthetic_ecg.findings import Findings

# SNOMED CT codes of the findings of a synthetic record, labelled ones first.
CODES = {
    "SR": "426783006",
    "BRADY": "426177001",
    "TACHY": "427084000",
    "AFIB": "164889003",
    "AFLT": "164890007",
    "PACED": "10370003",
    "LBBB": "164909002",
    "RBBB": "59118001",
    "LVH": "164873001",
    "STE": "164931005",
    "STD": "429622005",
    "TINV": "59931005",
    "LOWV": "251147008",
    "AVB1": "270492004",
    "PVC": "17338001",
    "PAC": "284470004",
    "sinus_arrhythmia": "427393009",
    "long_qt": "111975006",
    "flat_t": "164934002",
    "inferior_q": "164917005",
}
# Rows of the table of conditions beyond the classes: no class, or another abbreviation for the code of one.
OTHER_ROWS = {
    "LBBBB": "164909002",
    "LFBBB": "164909002",
    "MIFW": "164865005",
    "LVQRSLL": "251147008",
    "SB": "426177001",
}
RECORDS_PER_FOLDER = 100
EXAMPLE = "python -m preprocess.synthetic_ecg.csn_layout --records 200 --dest data/csn-synthetic"


def codes_of(findings: Findings) -> list[str]:
    """SNOMED CT codes of what a synthetic record shows."""
    return [code for name, code in CODES.items() if name in findings.labels or name in findings.minor]


def write_csn_layout(dest: Path, n_records: int, seed: int = 1) -> dict[str, list[str]]:
    """Write ``n_records`` recordings and the table of conditions; return the codes of each.

    Args:
        dest: folder, empty or missing.
        n_records: how many, up to 99,999.
        seed: same seed, same files.

    Raises:
        DataError: ``dest`` holds something.
    """
    codes_of_record = {}
    with whole_folder(Path(dest)) as folder:
        _write_conditions(folder / CONDITIONS_FILE)
        for index in tqdm(range(n_records), unit="record", desc="CSN layout"):
            plan = draw(seed, index)
            sex, age = draw_patient(seed, index)
            name, part = f"JS{index + 1:05d}", 10 + index // RECORDS_PER_FOLDER
            codes_of_record[name] = codes_of(plan.findings)
            comments = [
                f"#Age: {age}",
                f"#Sex: {sex}",
                f"#Dx: {','.join(codes_of_record[name])}",
                "#Rx: Unknown",
                "#Hx: Unknown",
            ]
            path = folder / "WFDBRecords" / f"{part // 10:02d}" / f"{part:03d}" / name
            write_wfdb_mat(path, samples(plan), comments)
    return codes_of_record


def _write_conditions(path: Path) -> None:
    texts = load_prompts("csn", "name")
    with open(path, "w", encoding="utf-8-sig", newline="") as handle:
        table = csv.writer(handle, lineterminator="\n")
        table.writerow(["Acronym Name", "Full Name", "Snomed_CT"])
        table.writerows([name, texts[name][0], code] for code, name in CSN.items())
        table.writerows([name, f"{name} (no class)", code] for name, code in OTHER_ROWS.items())


def main(argv: Sequence[str] | None = None) -> int:
    args = layout_arguments(__doc__, EXAMPLE, argv)
    codes_of_record = write_csn_layout(args.dest, args.records, args.seed)
    print(f"{len(codes_of_record)} records in {args.dest}")
    for code, count in Counter(code for codes in codes_of_record.values() for code in codes).most_common():
        print(f"  {code:12} {CSN.get(code, '(no class)'):10} {count}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
