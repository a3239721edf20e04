"""The files of MIMIC-IV-ECG 1.0: WFDB records, record_list.csv and machine_measurements.csv."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from preprocess.synthetic_ecg.physiology.leads import MIMIC_LEADS
from preprocess.synthetic_ecg.record import Plan
from preprocess.synthetic_ecg.texts.reports import MAX_STATEMENTS

UNITS_PER_MV = 200
NOT_MEASURABLE = 29999

RECORD_COLUMNS = ("subject_id", "study_id", "file_name", "ecg_time", "path")
MEASUREMENTS = (
    *("rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end"),
    *("p_axis", "qrs_axis", "t_axis"),
)
MEASUREMENT_COLUMNS = (
    *("subject_id", "study_id", "cart_id", "ecg_time"),
    *(f"report_{i}" for i in range(MAX_STATEMENTS)),
    *("bandwidth", "filtering"),
    *MEASUREMENTS,
)


def record_path(subject_id: int, study_id: int) -> str:
    """Path of a record below the cohort's folder, without extension."""
    return f"files/p{subject_id // 10000}/p{subject_id}/s{study_id}/{study_id}"


def write_record(root: Path, path: str, subject_id: int, time: np.datetime64, signal: np.ndarray, rate: int) -> None:
    """Write ``signal`` (``[12, T]`` mV, order of ``MIMIC_LEADS``) as ``path``.hea and ``path``.dat, WFDB format 16."""
    # -32768 means "no sample" in format 16.
    digital = np.clip(np.rint(signal * UNITS_PER_MV), -32767, 32767).astype("<i2")
    target = root / path
    target.parent.mkdir(parents=True)
    digital.T.tofile(f"{target}.dat")
    checksums = digital.sum(axis=1, dtype=np.int64) % 65536
    date, clock = str(time).split("T")
    year, month, day = date.split("-")
    lines = [f"{target.name} {len(MIMIC_LEADS)} {rate} {digital.shape[1]} {clock} {day}/{month}/{year}"]
    for name, start, checksum in zip(MIMIC_LEADS, digital[:, 0], checksums):
        lines.append(f"{target.name}.dat 16 {UNITS_PER_MV}.0(0)/mV 16 0 {start} {checksum} 0 {name}")
    lines += [f"# <subject_id>: {subject_id}", "# synthetic recording"]
    with open(f"{target}.hea", "w", encoding="ascii", newline="\n") as header:
        header.write("\n".join(lines) + "\n")


def device_columns(plan: Plan) -> tuple[str, str]:
    """Columns ``bandwidth`` and ``filtering`` of a record."""
    device = plan.device
    notch = f"{device.notch:g} Hz notch" if device.notch else "no notch"
    return f"{device.high_pass:g}-{device.low_pass:g} Hz", f"{notch} Baseline filter" if device.high_pass >= 0.5 else notch


def measurements(plan: Plan) -> dict:
    """Columns ``MEASUREMENTS`` of one record: milliseconds within a median beat, and degrees.

    ``NOT_MEASURABLE`` stands where there is no P wave, as in the real table.
    """
    m, has_p = plan.measured, plan.beats.pr_interval > 0
    p_onset = 40
    qrs_onset = p_onset + m.pr if has_p else 200
    values = (
        round(60_000 / m.rate),
        p_onset if has_p else NOT_MEASURABLE,
        p_onset + m.p if has_p else NOT_MEASURABLE,
        qrs_onset,
        qrs_onset + m.qrs,
        qrs_onset + m.qt,
        NOT_MEASURABLE if m.p_axis is None else m.p_axis,
        m.axis,
        m.t_axis,
    )
    return dict(zip(MEASUREMENTS, values))
