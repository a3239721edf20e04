"""Recordings of a day, of which no more is read than a window."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from format_files import known_counts, measured

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.quality import quality_index
from cmelt_plugin.intake.reading import read_ecg, reads_parts
from cmelt_plugin.intake.windows import best_window, windows
from tests.intake.writers import edf, ishne, muse, scp

RATE, DAY = 1000, 86_400
START = datetime(2020, 3, 1, 7, 30)


def beats(samples: int) -> np.ndarray:
    """Counts of a lead with a beat a second."""
    time = np.arange(samples) / RATE
    noise = np.random.default_rng(0).normal(0, 8, samples)
    return np.rint(400 * np.exp(-(((time % 1 - 0.5) / 0.02) ** 2)) + noise).astype("<i2")


def day_of_ishne(path: Path) -> Path:
    """12 leads at 1000 Hz: 2 GB of holes, with beats from 43,195 s on."""
    ishne.write(path, known_counts(), rate=RATE, samples=DAY * RATE)
    head = path.stat().st_size - 2 * 12 * 600
    with path.open("r+b") as handle:
        handle.seek(head)
        handle.write(bytes(2 * 12 * 600))
        handle.seek(head + 2 * 12 * RATE * 43_195)
        handle.write(np.repeat(beats(20 * RATE)[:, None], 12, axis=1).tobytes())
        handle.truncate(head + 2 * 12 * RATE * DAY)
    return path


def day_of_edf(path: Path) -> Path:
    """The same, in data records of a second."""
    edf.write(path, known_counts(12, RATE), record=RATE, seconds="1", records=DAY)
    head = path.stat().st_size - 2 * 12 * RATE
    with path.open("r+b") as handle:
        handle.seek(head)
        handle.write(bytes(2 * 12 * RATE))
        handle.seek(head + 2 * 12 * RATE * 43_195)
        handle.write(np.tile(beats(20 * RATE).reshape(20, 1, RATE), (1, 12, 1)).tobytes())
        handle.truncate(head + 2 * 12 * RATE * DAY)
    return path


@pytest.mark.parametrize("write", (day_of_ishne, day_of_edf))
def test_a_day_is_read_in_windows(tmp_path: Path, write) -> None:
    path = write(tmp_path / "a")
    with pytest.raises(DataError, match="86,400,000 samples of 12 leads, at most .*; read it in windows"):
        measured(read_ecg, path)
    one = measured(lambda name: next(windows(name)), path)
    assert one.signal.shape == (12, 10 * RATE) and one.samples == DAY * RATE and one.start == START
    best = measured(lambda name: best_window(name, most=2), path)  # the first, and that in the middle
    assert best.start == START + timedelta(seconds=43_200)
    assert best.notes[-2:] == (
        "A window of 10 s from 43200 s on, of 86400 s.",
        f"Its quality index is {quality_index(best.signal, RATE):.2f}, the highest of the 2 windows tried; there are 8640.",
    )
    np.testing.assert_allclose(best.signal, np.tile(beats(20 * RATE)[5 * RATE : 15 * RATE] * 0.0025, (12, 1)), atol=1e-6)


def test_of_a_single_window_none_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.tile(beats(10 * RATE) * 0.0025, (12, 1)))
    (tmp_path / "a.json").write_text('{"sample_rate": 1000, "unit": "mV", "leads": ["' + '","'.join(LEADS) + '"]}')
    assert best_window(str(path)).notes[-1].endswith("; the recording has no other window.")


@pytest.mark.parametrize("write", ("scp", "muse", "ishne", "edf"))
def test_windows_are_the_whole_in_pieces(tmp_path: Path, write: str) -> None:
    counts, path = known_counts(8 if write == "muse" else 12, 1300), tmp_path / "a.xml"
    if write == "scp":
        scp.write(path, scp.sections_of(counts))
    else:
        {"muse": muse, "ishne": ishne, "edf": edf}[write].write(path, counts)
    assert reads_parts(str(path)) is (write in ("ishne", "edf"))
    whole = read_ecg(str(path))
    parts = list(windows(str(path), 0.5))
    assert len(parts) == 5 and all(part.leads == whole.leads and part.samples == 1300 for part in parts)
    np.testing.assert_array_equal(np.concatenate([part.signal for part in parts], axis=1), whole.signal[:, :1250])
    if whole.start is not None:
        assert [part.start for part in parts] == [whole.start + timedelta(seconds=0.5 * n) for n in range(5)]
    with pytest.raises(DataError, match="2.6 s, a window has 10 s; choose a shorter window"):
        best_window(str(path))
