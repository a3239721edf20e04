"""Files of clinical formats: real ones with decoded values to agree with, a signal to write twins of, and damage."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Callable

import numpy as np
import pytest

from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.recording import Recording

MEMORY = 40 << 20  # bytes that reading a file of a few kB may take


def real_file(real_data: Path, name: str) -> tuple[Path, dict]:
    """A real file, and what ``expected.json`` says of the samples of its rhythm."""
    folder = real_data / "formats"
    if not (folder / name).is_file():
        pytest.skip(f"no file {name} in {folder}; set CMELT_REAL_DATA to a folder that holds formats/")
    entry = json.loads((folder / "expected.json").read_text(encoding="utf-8"))[name]
    return folder / name, next((group for group in entry.get("groups", ()) if "median" not in group["name"]), {})


def check_agreement(recording: Recording, expected: dict) -> None:
    """Rate, length, and of each lead the first samples, least, largest and mean, which are given in rounded microvolts."""
    assert recording.sample_rate == pytest.approx(expected["rate_hz"], abs=0.01)
    assert recording.signal.shape == (len(expected["leads"]), expected["samples"])
    assert recording.signal.dtype == np.float32
    for lead, values in expected["leads"].items():
        microvolts = recording.signal[recording.leads.index(lead)].astype(np.float64) * 1e3
        np.testing.assert_allclose(microvolts[:8], values["first8"], atol=0.002)
        summary = microvolts.min(), microvolts.max(), microvolts.mean()
        np.testing.assert_allclose(summary, [values["min"], values["max"], values["mean"]], atol=0.002)


def known_counts(leads: int = 12, samples: int = 600, seed: int = 0) -> np.ndarray:
    """int16 ``[leads, samples]``: slow waves with noise, up to some hundred counts."""
    rng = np.random.default_rng(seed)
    times = np.linspace(0, 6 * np.pi, samples)
    waves = 300 * np.sin(times + np.arange(leads)[:, None])
    return np.rint(waves + rng.normal(0, 8, (leads, samples))).astype(np.int16)


def measured(read: Callable[[str], Recording], path: Path) -> Recording:
    """What ``read`` gives of a file; it takes little memory, and refuses in a line that names it (or its JSON) and a remedy."""
    tracemalloc.start()
    try:
        return read(str(path))
    except DataError as reason:
        words = str(reason)
        named = words.startswith((f"{path}: ", f"{path.with_suffix('.json')}: "))
        assert named and words.isprintable() and "; " in words and len(words) < len(str(path)) + 700, words
        raise
    finally:
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert taken < MEMORY, f"took {taken:,} bytes"


Damage = Callable[[bytes, np.random.Generator], bytes]


def attack(
    attacks: Iterable,
    read: Callable[[str], Recording],
    path: Path,
    damage: Damage,
    beside: Mapping[Path, Damage] = MappingProxyType({}),
) -> None:
    """Damage a good file, or one of those beside it, in every way of a battery: it is read as a recording or refused."""
    damages = {path: damage, **beside}
    good = {file: file.read_bytes() for file in damages}
    for one in attacks:
        with one:
            for file, data in good.items() if beside else ():
                file.write_bytes(data)
            file = list(damages)[one.random.integers(len(damages))] if beside else path
            file.write_bytes(damages[file](good[file], one.random))
            recording = measured(read, path)
            usable = len(recording.signal) and recording.signal.shape[1] and np.isfinite(recording.sample_rate)
            one.expect(bool(usable) and not np.isinf(recording.signal).any(), f"{recording}")
