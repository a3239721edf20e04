"""Write synthetic recordings in the layout of EchoNext: metadata, and per split an array of standardised waveforms.

As in the original, some patients have several records, the table holds rows of no split, and waveforms have lost their unit;
the file of means and deviations that undoes this lies beside them. Flags follow from the ejection fraction and the findings of
each record; those of valves are drawn. No patient is behind these files; they serve to try out software.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cmelt_plugin.data.leads import LEADS, lead_indices
from preprocess.synthetic_ecg.echo.ejection import plan_with_ejection, weakness
from preprocess.synthetic_ecg.layouts.challenge_records import layout_arguments, whole_folder
from preprocess.synthetic_ecg.physiology.leads import MIMIC_LEADS
from preprocess.synthetic_ecg.physiology.subjects import draw_cohort, draw_subject
from preprocess.synthetic_ecg.record import Plan, render

EXAMPLE = "python -m preprocess.synthetic_ecg.layouts.echonext_layout --records 200 --dest data/echonext-synthetic"
README = "Synthetic electrocardiograms in the layout of EchoNext: computed, no patient is behind these files.\n"
RATE, UNITS_PER_MV = 250, 200
FLAGS = (
    *("lvef_lte_45_flag", "lvwt_gte_13_flag", "aortic_stenosis_moderate_or_greater_flag"),
    *("aortic_regurgitation_moderate_or_greater_flag", "mitral_regurgitation_moderate_or_greater_flag"),
    *("tricuspid_regurgitation_moderate_or_greater_flag", "pulmonary_regurgitation_moderate_or_greater_flag"),
    *("rv_systolic_dysfunction_moderate_or_greater_flag", "pericardial_effusion_moderate_large_flag"),
    *("pasp_gte_45_flag", "tr_max_gte_32_flag", "shd_moderate_or_greater_flag"),
)
COLUMNS = (
    *("ecg_key", "patient_key", "age_at_ecg", "sex", "acquisition_year", "location_setting", "race_ethnicity"),
    *("most_recent_ecg", "split", "lvef_value", *FLAGS),
)
SPLITS = ("train", "val", "test", "no_split")
_SHARES = (0.7, 0.12, 0.18)
_VALVES = 0.08  # share of records with each flag that nothing in them shows
_TO_CANONICAL = lead_indices(MIMIC_LEADS)


def write_echonext_layout(dest: Path, n_records: int, seed: int = 1) -> None:
    """Write ``n_records`` recordings.

    Args:
        dest: folder, empty or missing.
        n_records: how many.
        seed: same seed, same files.

    Raises:
        DataError: ``dest`` holds something.
    """
    cohort = draw_cohort(seed, n_records, max(3, round(n_records / 1.3)) if n_records > 2 else 1)
    of_subject = np.random.default_rng([seed, len("echonext")]).choice(3, size=int(cohort.subject.max()) + 1, p=_SHARES)
    of_subject[:3] = range(min(3, len(of_subject)))  # no split is empty
    waveforms: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    with whole_folder(Path(dest)) as folder:
        (folder / "README.txt").write_text(README, encoding="utf-8")
        with open(folder / "echonext_metadata_100k.csv", "w", encoding="utf-8", newline="") as handle:
            table = csv.writer(handle, lineterminator="\n")
            table.writerow(COLUMNS)
            for index in tqdm(range(n_records), unit="record", desc="EchoNext layout"):
                subject = int(cohort.subject[index])
                plan, ejection = plan_with_ejection(seed, index, subject, draw_subject(seed, subject))
                last = index + 1 == n_records or cohort.subject[index + 1] != subject
                split = SPLITS[of_subject[subject]] if last or of_subject[subject] == 0 else SPLITS[3]
                table.writerow(_row(seed, index, subject, split, last, plan, ejection))
                waveforms[split].append(render(plan, RATE)[_TO_CANONICAL].T)
        every = np.concatenate([record for records in waveforms.values() for record in records]) * UNITS_PER_MV
        mean, std = every.mean(axis=0), every.std(axis=0)
        for split, records in waveforms.items():
            stacked = np.stack(records)[:, None] if records else np.zeros((0, 1, 10 * RATE, len(LEADS)))
            np.save(folder / f"EchoNext_{split}_waveforms.npy", ((stacked * UNITS_PER_MV - mean) / std).astype(np.float32))
        parameters = {"mean": mean.tolist(), "std": std.tolist()}
        (folder / "waveform_normalization_params.json").write_text(json.dumps(parameters), encoding="utf-8")


def _row(seed: int, index: int, subject: int, split: str, last: bool, plan: Plan, ejection: float) -> list[object]:
    rng = np.random.default_rng([seed, index, len("flags")])
    of_subject = np.random.default_rng([seed, subject, len("subject")])
    age, sex = int(of_subject.integers(18, 91)), int(of_subject.integers(2))
    drawn = rng.random(len(FLAGS)) < _VALVES * (0.5 + weakness(ejection))
    flags = dict(zip(FLAGS, drawn.tolist()))
    flags.update(lvef_lte_45_flag=ejection <= 45, lvwt_gte_13_flag="LVH" in plan.findings.labels)
    flags[FLAGS[-1]] = any(flags[name] for name in FLAGS[:-1])
    year, setting = 2008 + index % 15, ("inpatient", "emergency", "outpatient", "procedural")[index % 4]
    key, patient = f"e{index:06d}", f"p{subject:06d}"
    return [key, patient, age, sex, year, setting, "unknown", int(last), split, round(ejection), *map(int, flags.values())]


def main(argv: Sequence[str] | None = None) -> int:
    args = layout_arguments(__doc__, EXAMPLE, argv)
    write_echonext_layout(args.dest, args.records, args.seed)
    print(f"{args.records} records in {args.dest}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
