"""A tiny folder in the layout of MIMIC-IV-ECG 1.0, with faults where a test wants them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import wfdb

MIMIC_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")  # MIMIC's order
REPORT_COLUMNS = [f"report_{i}" for i in range(18)]


def make_ecg(seed: int, seconds: float = 10.0, rate: float = 500.0, leads: int = 12) -> np.ndarray:
    """Random [leads, samples] in mV: a sine of its own frequency per lead plus noise."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    frequency = generator.uniform(1, 10, (leads, 1))
    return 0.5 * np.sin(2 * np.pi * frequency * time) + generator.normal(0, 0.05, (leads, len(time)))


def write_record(
    path: Path,
    ecg: np.ndarray,
    rate: float = 500.0,
    leads: Sequence[str] = MIMIC_LEADS,
    unit: str = "mV",
    gain: float = 1000.0,
    fmt: str = "16",
) -> None:
    """Write one WFDB record; NaN becomes WFDB's invalid sample."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = len(leads)
    wfdb.wrsamp(
        path.name,
        fs=rate,
        units=[unit] * count,
        sig_name=[f"x{i}" for i in range(count)],  # the writer refuses doubled names, files in the wild have them
        p_signal=np.ascontiguousarray(ecg.T),
        fmt=[fmt] * count,
        adc_gain=[gain] * count,
        baseline=[0] * count,
        write_dir=str(path.parent),
    )
    header = path.with_suffix(".hea")
    lines = header.read_text().splitlines()
    for i, lead in enumerate(leads):
        lines[1 + i] = lines[1 + i].rpartition(" ")[0] + f" {lead}"
    header.write_text("\n".join(lines) + "\n")


def damage(path: Path, fault: str) -> None:
    """Damage a written record: truncated, missing_dat, missing_header, wrong_name or garbage_header."""
    header, data = path.with_suffix(".hea"), path.with_suffix(".dat")
    if fault == "truncated":
        data.write_bytes(data.read_bytes()[:-1000])
    elif fault == "missing_dat":
        data.unlink()
    elif fault == "missing_header":
        header.unlink()
    elif fault == "wrong_name":
        header.write_text(header.read_text().replace(f"{path.name}.dat", "elsewhere.dat"))
    elif fault == "garbage_header":
        header.write_bytes(b"\x00\xff\x12 no header")
    else:
        raise ValueError(fault)


def write_mimic_layout(root: Path, records: Sequence[dict[str, Any]], encoding: str = "utf-8") -> list[str]:
    """Write records and both CSV files below ``root``; return the record ids.

    Keys of a record, all optional: study_id, subject_id, report (one text or a list of up to 18), ecg ([leads,
    samples] mV in the order of ``leads``), seconds, rate, leads, unit, gain, fault (see :func:`damage`), and
    ``unlisted=True`` to leave it out of machine_measurements.csv.
    """
    root.mkdir(parents=True, exist_ok=True)
    listed, measured, ids = [], [], []
    for i, record in enumerate(records):
        study = str(record.get("study_id", 40000000 + i))
        subject = str(record.get("subject_id", 10000000 + i // 2))
        place = f"files/p{subject[:4]}/p{subject}/s{study}/{study}"
        rate = record.get("rate", 500.0)
        leads = record.get("leads", MIMIC_LEADS)
        ecg = record.get("ecg")
        if ecg is None:
            ecg = make_ecg(i, record.get("seconds", 10.0), rate, len(leads))
        write_record(root / place, ecg, rate, leads, record.get("unit", "mV"), record.get("gain", 1000.0))
        if "fault" in record:
            damage(root / place, record["fault"])
        report = record.get("report", ["Sinus rhythm", "Normal ECG" if i % 3 else "Abnormal ECG"])
        texts = [report] if isinstance(report, str) else list(report)
        listed.append([subject, study, study, "2180-07-23 08:44:00", place])
        if not record.get("unlisted"):
            texts += [""] * (len(REPORT_COLUMNS) - len(texts))
            measured.append([subject, study, "6848296", "2180-07-23 08:44:00", *texts, "0.05-150 Hz", "60 Hz", "659"])
        ids.append(study)
    _write_csv(root / "record_list.csv", ["subject_id", "study_id", "file_name", "ecg_time", "path"], listed, encoding)
    columns = [
        "subject_id",
        "study_id",
        "cart_id",
        "ecg_time",
        *REPORT_COLUMNS,
        "bandwidth",
        "filtering",
        "rr_interval",
    ]
    _write_csv(root / "machine_measurements.csv", columns, measured, encoding)
    return ids


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]], encoding: str) -> None:
    with open(path, "w", encoding=encoding, newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(columns)
        writer.writerows(rows)
