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
from preprocess.synthetic_ecg.layouts.challenge_records import (
    draw,
    layout_arguments,
    patient_of,
    samples,
    whole_folder,
    write_wfdb_mat,
)
from preprocess.synthetic_ecg.physiology.findings import INFARCTS, Findings

# CSN's class of each label of a synthetic record that it names; its codes are those of the headers.
CLASS_OF_LABEL = {
    **{"SR": "SR", "STACH": "ST", "SARRH": "SA", "AFIB": "AFIB", "AFLT": "AF", "SVTAC": "SVT", "AT": "AT"},
    **{"CLBBB": "LBBB", "CRBBB": "RBBB", "WPW": "WPW", "1AVB": "1AVB", "LPR": "PRIE", "2AVB": "2AVB", "2AVB1": "2AVB1"},
    **{"3AVB": "AVB", "PVC": "VPB", "PAC": "APB", "VB": "VB", "JEB": "JEB", "VEB": "VEB", "LAD": "ALS", "RAD": "ARS"},
    **{"CR": "CR", "CCR": "CCR", "LVH": "LVH", "RVH": "RVH", "LNGQT": "QTIE", "UW": "UW", "ERV": "ERV", "QWAVE": "AQW"},
    **{"INVT": "TWO", "LOWT": "TWC", "STD_": "STDD", "STE_": "STTU", "NDT": "STTC", "NST_": "STTC"},
    **{"LAO/LAE": "PWC", "RAO/RAE": "PWC", **dict.fromkeys(INFARCTS, "MI")},
}
# Of no class.
OTHER_CODES = {"SBRAD": "426177001", "PACE": "10370003", "LVOLT": "251147008"}
# Rows of the table of conditions beyond the classes: no class, or another abbreviation for the code of one.
OTHER_ROWS = {
    "LBBBB": "164909002",
    "LFBBB": "164909002",
    "MIFW": "164865005",
    "LVQRSLL": "251147008",
    "SB": "426177001",
}
RECORDS_PER_FOLDER = 100
EXAMPLE = "python -m preprocess.synthetic_ecg.layouts.csn_layout --records 200 --dest data/csn-synthetic"


def codes_of(findings: Findings) -> list[str]:
    """SNOMED CT codes of what a synthetic record shows."""
    code_of = {name: code for code, name in CSN.items()}
    codes = [code_of[name] for label, name in CLASS_OF_LABEL.items() if label in findings.labels]
    return list(dict.fromkeys(codes)) + [code for label, code in OTHER_CODES.items() if label in findings.labels]


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
            sex, age = patient_of(plan)
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
