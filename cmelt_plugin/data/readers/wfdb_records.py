"""WFDB records: a header, the signals it describes, and whether its checksums are theirs.

The formats are decoded here: the ``wfdb`` package needs several milliseconds for a header, believes any length it announces,
replaces rates and gains it cannot read by defaults, and compares no checksum.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence

import numpy as np

from cmelt_plugin.data.readers.contract import (
    ALL,
    LARGEST_ARRAY,
    Reading,
    Recording,
    Rejected,
    check_array,
    check_file,
    file_name,
    reader,
    takes_reading,
)
from cmelt_plugin.data.readers.wfdb_header import Header, Signal, read_header
from cmelt_plugin.data.readers.wfdb_samples import CHUNK_BYTES, Group, Window, check_length, count_frames, group_of, read_frames

LONGEST_VERIFIED = 64 << 20  # bytes read for the sake of checksums: two hours of 12 leads at 360 Hz

ACCEPT = "--accept-wrong-checksums"
WRONG_CHECKSUM = "checksums in the WFDB header are wrong, accepted"
NO_CHECKSUM = "no checksums in the WFDB header"
EMPTY_CHECKSUM = "checksums in the WFDB header are all 0: nothing to verify by"
OTHER_FIRST = "initial values in the WFDB header are not those of the samples, whose checksums are right"
UNVERIFIED = f"checksums in the WFDB header not verified: more than {LONGEST_VERIFIED >> 20} MiB"


@takes_reading
@reader
def read_wfdb(path: str, reading: Reading = ALL) -> Recording:
    """Read a WFDB record; ``path`` is that of the header without ``.hea``.

    Samples of a signal that was sampled more often than the record are averaged, as WFDB does.

    Raises:
        Rejected: header or signal file are missing, truncated, damaged or of a form that is not read; codes ``missing``,
            ``unreadable``, ``truncated``, ``header``, ``rate``, ``gain``, ``format``, ``checksum``, ``large``.
        OSError, MemoryError: trouble of the machine.
    """
    header = read_header(path)
    if header.segments:
        return _read_segments(path, header, reading)
    groups = _groups(path, header)
    samples = count_frames(groups[0]) if header.samples is None else header.samples
    start, stop = reading.span(samples, header.rate)
    signal, notes = _read(path, header, groups, samples, start, stop, reading.accept_wrong_checksums)
    leads, units = [line.lead for line in header.signals], [line.unit or "mV" for line in header.signals]
    return Recording(signal, leads, units, header.rate, reading.total(samples), header.notes + notes)


@reader
def rate_and_samples(path: str) -> tuple[float, int]:
    """Hz and samples of a record, the latter borne out by the size of its signal files; no samples are read.

    Raises:
        Rejected: as :func:`read_wfdb`; or it is a multi-segment record.
        OSError, MemoryError: trouble of the machine.
    """
    header = read_header(path)
    if header.segments:
        raise Rejected("header", f"{file_name(path)}.hea: a multi-segment record")
    groups = _groups(path, header)
    samples = count_frames(groups[0]) if header.samples is None else header.samples
    for group in groups:
        check_length(group, samples)
    return header.rate, samples


def _groups(path: str, header: Header) -> list[Group]:
    folder = os.path.dirname(path)
    files: dict[str, list[Signal]] = {}
    for signal in header.signals:
        files.setdefault(signal.file, []).append(signal)
    return [group_of(folder, signals) for signals in files.values()]


def _read(
    path: str, header: Header, groups: Sequence[Group], samples: int, start: int, stop: int, accept: bool
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Samples ``start`` to ``stop`` as float64 [signals, stop - start], and notes."""
    late = max([signal.skew // signal.frame + 1 if signal.skew else 0 for signal in header.signals])
    last = min(samples, stop + late)
    width = sum([group.width for group in groups])
    if width * (last - start) * 8 > LARGEST_ARRAY:
        for group in groups:  # a length that the file does not have is the better reason
            check_length(group, samples)
        check_array(path, width * (last - start))
    wanted = header.samples is not None and not all([signal.first is None for signal in header.signals])
    verify = wanted and width * samples * 2 <= LONGEST_VERIFIED
    windows = [_window(group, samples, start, last, verify) for group in groups]
    notes: tuple[str, ...] = ()
    if verify:
        notes = _verify(path, groups, windows, accept)
    elif header.samples is not None:
        notes = (UNVERIFIED if wanted else NO_CHECKSUM,)
    if len(groups) == 1 and not late and groups[0].width == len(header.signals):
        return _physical(windows[0].numbers, groups[0].signals, groups[0].invalid), notes
    rows: dict[int, np.ndarray] = {}
    for group, window in zip(groups, windows):
        column = 0
        for signal in group.signals:
            numbers = window.numbers[column : column + signal.frame]
            values = _physical(numbers, [signal] * signal.frame, group.invalid).mean(axis=0)
            rows[id(signal)] = _moved(values, int(signal.skew / signal.frame + 0.5), stop - start)
            column += signal.frame
    return np.stack([rows[id(signal)] for signal in header.signals]), notes


def _physical(numbers: np.ndarray, signals: Sequence[Signal], invalid: int | None) -> np.ndarray:
    gain = np.array([[signal.gain] for signal in signals])
    baseline = np.array([[float(signal.baseline)] for signal in signals])
    values = numbers - baseline  # exact: all are below 2**53
    values /= gain
    if invalid is not None:
        missing = numbers == invalid
        if missing.any():
            values[missing] = np.nan
    return values


def _moved(values: np.ndarray, skew: int, length: int) -> np.ndarray:
    """So many samples from ``skew`` on, NaN where the file has no more."""
    moved = np.full(length, np.nan)
    part = values[skew : skew + length]
    moved[: len(part)] = part
    return moved


def _window(group: Group, samples: int, start: int, stop: int, verify: bool) -> Window:
    if not verify or group.width * samples * 2 <= CHUNK_BYTES:
        return read_frames(group, samples, start, stop, verify)
    # A long file is read from end to end once, not again for each of its segments.
    status = check_file(group.path)
    sums, first = _sums(group, samples, status.st_mtime_ns, status.st_size)
    return read_frames(group, samples, start, stop, False)._replace(sums=sums, first=first)


@functools.lru_cache(maxsize=4)
def _sums(group: Group, samples: int, time: int, size: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """What the checksums are about; ``time`` and ``size`` tell one state of the file from another."""
    del time, size
    window = read_frames(group, samples, 0, 0, True)
    return window.sums, window.first


def _verify(path: str, groups: Sequence[Group], windows: Sequence[Window], accept: bool) -> tuple[str, ...]:
    """Compare checksums and initial values; returns notes.

    Raises:
        Rejected: ``checksum``: they are wrong, and ``accept`` is not set.
    """
    notes: tuple[str, ...] = ()
    for group, window in zip(groups, windows):
        assert window.sums is not None and window.first is not None
        sums, firsts = window.sums.tolist(), window.first.tolist()
        column = 0
        for signal in group.signals:
            sum_ = (sums[column] if signal.frame == 1 else sum(sums[column : column + signal.frame])) & 0xFFFF
            first = signal.first if group.format == 8 else firsts[column]
            column += signal.frame
            if signal.checksum is not None and sum_ != signal.checksum & 0xFFFF:
                wrong = f"checksum {signal.checksum & 0xFFFF} in the header, {sum_} of the samples"
            elif signal.first not in (None, first):
                if signal.checksum is not None:  # real records have such; WFDB uses the value in format 8 only
                    notes = notes or (OTHER_FIRST,)
                    continue
                wrong = f"initial value {signal.first} in the header, {first} in the file"
            else:
                continue
            if not any(other.checksum or other.first for group in groups for other in group.signals):
                return (EMPTY_CHECKSUM,)
            if accept:
                return (WRONG_CHECKSUM,)
            raise Rejected("checksum", f"{file_name(group.path)}, {signal.lead or 'a signal'}: {wrong}; accept it: {ACCEPT}")
    return notes


def _read_segments(path: str, header: Header, reading: Reading) -> Recording:
    """A multi-segment record; NaN where a segment lacks a signal, or is a gap."""
    name = f"{file_name(path)}.hea"
    samples = sum(segment.samples for segment in header.segments)
    if header.samples not in (None, samples):
        raise Rejected("header", f"{name} announces {header.samples} samples in segments of {samples}")
    start, stop = reading.span(samples, header.rate)
    layout = next((segment.name for segment in header.segments if segment.name != "~"), None)
    if layout is None:
        raise Rejected("header", f"{name}: all segments are gaps")
    folder = os.path.dirname(path)
    described = _segment_header(os.path.join(folder, layout), header.rate)
    leads = [signal.lead for signal in described.signals]
    units = [signal.unit or "mV" for signal in described.signals]
    if len(set(leads)) < len(leads):
        raise Rejected("leads", f"{layout}.hea names a lead twice")
    check_array(path, len(leads) * (stop - start))
    whole = np.full((len(leads), stop - start), np.nan)
    notes = dict.fromkeys(described.notes)
    first = 0
    for segment in header.segments:
        begin, end = max(start, first), min(stop, first + segment.samples)
        if begin < end and segment.name != "~":
            stem = os.path.join(folder, segment.name)
            part = _segment_header(stem, header.rate)
            if part.samples != segment.samples:
                raise Rejected("header", f"{segment.name}.hea: {part.samples} samples, {segment.samples} in {name}")
            signal, more = _read(
                stem, part, _groups(stem, part), segment.samples, begin - first, end - first, reading.accept_wrong_checksums
            )
            notes.update(dict.fromkeys(part.notes + more))
            for row, line in zip(signal, part.signals):
                if line.lead not in leads or (line.unit or "mV") != units[leads.index(line.lead)]:
                    raise Rejected("header", f"{segment.name}.hea: {line.lead} in {line.unit} is not in {layout}.hea")
                whole[leads.index(line.lead), begin - start : end - start] = row
        first += segment.samples
    return Recording(whole, leads, units, header.rate, reading.total(samples), tuple(notes))


def _segment_header(stem: str, rate: float) -> Header:
    header = read_header(stem)
    if header.segments or header.rate != rate:
        what = "has segments itself" if header.segments else f"{header.rate:g} Hz, not {rate:g} Hz"
        raise Rejected("header", f"{file_name(stem)}.hea, a segment: {what}")
    return header
