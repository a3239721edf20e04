"""NumPy and CSV files, and the JSON file beside them that says what their numbers are (:mod:`..formats.arrays`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cmelt_plugin.data.files import atomic_path, write_json
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.intake.recording import Recording


def write_npy(path: Path, recording: Recording) -> list[Path]:
    """``path``.npy, float32 ``[leads, samples]`` in mV, and ``path``.json."""
    file = path.with_name(f"{path.name}.npy")
    with atomic_path(file) as temporary, open(temporary, "wb") as handle:
        np.save(handle, recording.signal)
    return [file, _describe(path, recording)]


def write_csv(path: Path, recording: Recording) -> list[Path]:
    """``path``.csv, a column a lead, in mV, in the shortest digits that give the same float32; and ``path``.json."""
    file = path.with_name(f"{path.name}.csv")
    with atomic_path(file) as temporary, open(temporary, "w", encoding="utf-8") as text:
        if set(recording.leads) <= set(LEADS):  # other names may be numbers, or words of another meaning
            text.write(",".join(recording.leads) + "\n")
        for row in recording.signal.T.astype(str).tolist():
            text.write(",".join(row) + "\n")
    return [file, _describe(path, recording)]


def _describe(path: Path, recording: Recording) -> Path:
    facts: dict[str, Any] = {
        "sample_rate": recording.sample_rate,
        "unit": "mV",
        "leads": list(recording.leads),
        "start": None if recording.start is None else recording.start.isoformat(),
        "sex": recording.sex,
        "age": recording.age,
        "device": recording.device,
        "filters": recording.filters,
    }
    file = path.with_name(f"{path.name}.json")
    write_json(file, {name: value for name, value in facts.items() if value not in (None, "")})
    return file
