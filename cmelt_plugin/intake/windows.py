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
MOST_TRIED = 720
"""Windows among which the best is looked for, evenly over the recording: every second minute of a day."""


def windows(path: str, seconds: float = SECONDS) -> Iterator[Recording]:
    """All whole windows of a recording, in order; what remains at the end is left out.

    ``start`` of a window is its own, where the file says when the recording began, and its notes say where it lies.

    Args:
        path: as :func:`cmelt_plugin.intake.reading.read_ecg`.
        seconds: length of a window.

    Raises:
        DataError: as :func:`read_ecg`; or the recording is shorter than a window.
    """
    read, spans, rate, samples = _windows(path, seconds)
    return (_placed(read(span), span, rate, samples) for span in spans)


def best_window(path: str, seconds: float = SECONDS, most: int = MOST_TRIED) -> Recording:
    """The window of the highest quality index (:mod:`.quality`), the first of several.

    Args:
        path, seconds: as :func:`windows`.
        most: of more windows than these, so many are tried, evenly over the recording.

    Raises:
        DataError: as :func:`windows`.
    """
    read, spans, rate, samples = _windows(path, seconds)
    tried = [spans[index] for index in np.unique(np.linspace(0, len(spans) - 1, min(most, len(spans))).round().astype(int))]
    indices = [quality_index(read(span).signal, rate) for span in tried]
    best = int(np.argmax(indices))
    window = _placed(read(tried[best]), tried[best], rate, samples)
    note = f"It has the highest quality index, {indices[best]:.2f}, of {len(tried)} windows that were tried of {len(spans)}."
    return replace(window, notes=(*window.notes, note))


class _Spans:
    """Windows one after the other, made when they are asked for: a day has thousands."""

    def __init__(self, length: int, count: int) -> None:
        self.length, self.count = length, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Span:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return Span(index * self.length, (index + 1) * self.length)


def _windows(path: str, seconds: float) -> tuple[Callable[[Span], Recording], _Spans, float, int]:
    """How a window is read, the windows, Hz, and samples of the whole recording."""
    first = read_ecg(path, Reading(Crop(seconds)))
    rate, samples = first.sample_rate, first.samples or first.signal.shape[1]
    length = round(seconds * rate)
    if not 0 < length <= samples:
        refuse(path, f"{samples / rate:.3g} s, a window has {seconds:g} s", "choose a shorter window")
    if reads_parts(path):
        return lambda span: read_ecg(path, Reading(span)), _Spans(length, samples // length), rate, samples
    whole = read_ecg(path)
    return lambda span: part_of(whole, span.start, span.stop), _Spans(length, samples // length), rate, samples


def _placed(window: Recording, span: Span, rate: float, samples: int) -> Recording:
    first = span.start / rate
    note = f"A window of {(span.stop - span.start) / rate:g} s from {first:g} s on, of {samples / rate:g} s."
    start = None if window.start is None else window.start + timedelta(seconds=first)
    return replace(window, start=start, samples=samples, notes=(*window.notes, note))
