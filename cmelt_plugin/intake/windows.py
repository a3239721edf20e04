"""Long recordings in windows: one after the other, or the best of them. No more than a window is in memory.

Formats whose samples lie one after the other (ISHNE, EDF, WFDB, arrays) are read window by window; the others, whose files
are limited, once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Callable

import numpy as np

from cmelt_plugin.data.readers.contract import Crop, Reading, Span
from cmelt_plugin.intake.quality import quality_index
from cmelt_plugin.intake.reading import read_ecg, reads_parts
from cmelt_plugin.intake.recording import Recording, part_of
from cmelt_plugin.intake.refusal import refuse

SECONDS = 10.0
BEST, EVERY = "best", "all"
MOST_TRIED = 720
"""Windows among which the best is looked for, evenly over the recording: every second minute of a day."""


def chosen_windows(path: str, which: str, seconds: float = SECONDS) -> Iterator[Recording]:
    """The best window (:data:`BEST`) or all whole ones (:data:`EVERY`); a recording that is no longer than one as it is.

    Args:
        path, seconds: as :func:`windows`.
        which: one of the two.

    Raises:
        DataError: as :func:`cmelt_plugin.intake.reading.read_ecg`.
    """
    first = read_ecg(path, Reading(Crop(seconds)))
    if (first.samples or first.signal.shape[1]) <= round(seconds * first.sample_rate):
        return iter([first])
    return windows(path, seconds) if which == EVERY else iter([best_window(path, seconds)])


def windows(path: str, seconds: float = SECONDS) -> Iterator[Recording]:
    """All whole windows of a recording, in order; what remains at the end is left out.

    ``start`` of a window is its own, where the file says when the recording began, and its notes say where it lies.

    Args:
        path: as :func:`cmelt_plugin.intake.reading.read_ecg`.
        seconds: length of a window.

    Raises:
        DataError: as :func:`read_ecg`; or the recording is shorter than a window.
    """
    window, starts, _ = _windows(path, seconds)
    return map(window, starts)


def best_window(path: str, seconds: float = SECONDS, most: int = MOST_TRIED) -> Recording:
    """The window of the highest quality index (:mod:`.quality`), the first of several.

    Args:
        path, seconds: as :func:`windows`.
        most: of more windows than these, so many are tried, evenly over the recording.

    Raises:
        DataError: as :func:`windows`.
    """
    window, starts, rate = _windows(path, seconds)
    tried = starts[:: -(-len(starts) // most)]
    indices = [quality_index(window(start).signal, rate) for start in tried]
    best = int(np.argmax(indices))
    found = window(tried[best])
    note = f"Its quality index is {indices[best]:.2f}, the highest of the {len(tried)} windows tried; there are {len(starts)}."
    if len(starts) == 1:
        note = f"Its quality index is {indices[best]:.2f}; the recording has no other window."
    return replace(found, notes=(*found.notes, note))


def _windows(path: str, seconds: float) -> tuple[Callable[[int], Recording], range, float]:
    """How the window from a sample on is read, the first samples of all windows, and Hz."""
    first = read_ecg(path, Reading(Crop(seconds)))
    rate, samples = first.sample_rate, first.samples or first.signal.shape[1]
    length = round(seconds * rate)
    if not 0 < length <= samples:
        refuse(path, f"{samples / rate:.3g} s, a window has {seconds:g} s", "choose a shorter window")
    whole = None if reads_parts(path) else read_ecg(path)

    def window(start: int) -> Recording:
        span, first = Span(start, start + length), start / rate
        part = read_ecg(path, Reading(span)) if whole is None else part_of(whole, *span)
        note = f"A window of {length / rate:g} s from {first:g} s on, of {samples / rate:g} s."
        began = None if part.start is None else part.start + timedelta(seconds=first)
        return replace(part, start=began, samples=samples, begins=first, notes=(*part.notes, note))

    return window, range(0, samples - length + 1, length), rate
