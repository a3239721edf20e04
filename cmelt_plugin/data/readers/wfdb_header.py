"""WFDB headers, read strictly: a field that is no number, or no sensible one, is refused and not replaced by a default.

Source: https://physionet.org/physiotools/wag/header-5.htm. Where WFDB's documentation defines what a missing field means,
that is followed and noted, with two exceptions. A missing rate is not 250 Hz and a missing gain not 200 per mV: the one would
silently change every heart rate, the other every amplitude, so both are refused.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from cmelt_plugin.data.readers.contract import Rejected, file_name, one_line, read_file

HEADER_BYTES = 1 << 20
MOST_SIGNALS = 1024
MOST_SAMPLES_PER_FRAME = 10_000
GAINS = (1e-6, 1e12)  # numbers per unit; anything else is a mistake
WIDEST_BASELINE = 1 << 31  # the documentation's baselines are C integers

NO_UNIT = "WFDB header without a unit: mV, as WFDB defines"
NO_LENGTH = "WFDB header without a number of samples: taken from the size of the signal file"

_ASSUMED_GAIN = "WFDB programs would assume 200 per mV"
_NUMBER = r"\d{1,20}(?:\.\d{0,20})?(?:[eE][+-]?\d{1,3})?|\.\d{1,20}(?:[eE][+-]?\d{1,3})?"
_WHOLE = re.compile(r"-?\d{1,18}", re.ASCII)
_RATE = re.compile(rf"(?P<rate>{_NUMBER})(?:/\S*)?", re.ASCII)
_RECORD = re.compile(r"(?P<name>[^\s/]+)(?:/(?P<segments>\d{1,9}))?", re.ASCII)
_FORMAT = re.compile(r"(?P<format>\d{1,4})(?:x(?P<frame>\d{1,9}))?(?::(?P<skew>\d{1,9}))?(?:\+(?P<offset>\d{1,18}))?", re.ASCII)
_GAIN = re.compile(rf"(?P<gain>{_NUMBER})(?:\((?P<baseline>-?\d{{1,18}})\))?(?:/(?P<unit>\S*))?", re.ASCII)
_SEGMENT = re.compile(r"(?P<name>[^\s/]+)\s+(?P<samples>\d{1,18})\s*", re.ASCII)
# Nearly every line of the large data sets, in one go.
_USUAL_LINE = re.compile(
    r"(?P<file>[^\s/]+)[ \t]+(?P<format>\d{1,4})(?:x(?P<frame>\d{1,9}))?(?::(?P<skew>\d{1,9}))?(?:\+(?P<offset>\d{1,18}))?"
    r"[ \t]+(?P<gain>\d{1,20}(?:\.\d{0,20})?)(?:\((?P<baseline>-?\d{1,18})\))?/(?P<unit>\S+)"
    r"[ \t]+\d+[ \t]+(?P<zero>-?\d{1,18})[ \t]+(?P<first>-?\d{1,18})[ \t]+(?P<checksum>-?\d{1,18})"
    r"[ \t]+-?\d{1,18}[ \t]+(?P<lead>\S.*)$",
    re.ASCII,
)


class Signal(NamedTuple):
    """One signal as its header line describes it."""

    file: str
    """Beside the header; ``~`` in the layout of a multi-segment record."""
    format: int
    frame: int
    """Samples of this signal for each of the record's."""
    skew: int
    """Samples by which the signal is late."""
    offset: int
    """Bytes before the first sample."""
    gain: float
    """Numbers per unit."""
    baseline: int
    unit: str
    zero: int
    first: int | None
    """Number of the first sample; None = not given."""
    checksum: int | None
    """Sum of all numbers modulo 2**16; None = not given."""
    lead: str


class Segment(NamedTuple):
    """Part of a multi-segment record; name ``~`` = a gap."""

    name: str
    samples: int


class Header(NamedTuple):
    """What a header says of a record."""

    rate: float
    samples: int | None
    """None = not given."""
    signals: tuple[Signal, ...]
    segments: tuple[Segment, ...] = ()
    """Not empty: ``signals`` is empty, the record is the sequence of these records."""
    notes: tuple[str, ...] = ()


def read_header(stem: str | os.PathLike) -> Header:
    """Read ``stem.hea``.

    Raises:
        Rejected: not a header, or one that lacks rate or gain or holds nonsense; codes ``header``, ``rate``, ``gain``.
        OSError, ValueError: from the system.
    """
    return parse_header(decode_lines(read_file(f"{os.fspath(stem)}.hea", HEADER_BYTES)), f"{file_name(stem)}.hea")


def decode_lines(data: bytes) -> list[str]:
    """The lines of a header, each UTF-8 or else Latin-1: files are found in which one line is the one, one the other."""
    try:
        return data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return [_decode(line) for line in data.splitlines()]


def parse_header(lines: list[str], name: str) -> Header:
    """A header from its lines; ``name`` is the file's, for messages.

    Raises:
        Rejected: as :func:`read_header`.
    """
    # Comments may stand anywhere.
    lines = [line for line in map(str.strip, lines) if line and line[0] != "#"]
    if not lines:
        raise Rejected("header", f"{name} is empty")
    first, *rest = lines
    segments, count, rate, samples = _record_line(first, name)
    if segments:
        if len(rest) != segments:
            raise Rejected("header", f"{name} announces {segments} segments and lists {len(rest)}")
        return Header(rate, samples, (), tuple(_segment(line, name) for line in rest))
    if len(rest) != count:
        raise Rejected("header", f"{name} announces {count} signals and describes {len(rest)}")
    signals = tuple([_signal(line, number, name) for number, line in enumerate(rest, start=1)])
    notes: tuple[str, ...] = () if all([signal.unit for signal in signals]) else (NO_UNIT,)
    if samples is None:
        notes += (NO_LENGTH,)
    return Header(rate, samples, signals, (), notes)


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _record_line(line: str, name: str) -> tuple[int, int, float, int | None]:
    """Number of segments (0 = none), of signals, Hz, and samples."""
    fields = line.split()
    record = _RECORD.fullmatch(fields[0])
    if record is None or len(fields) < 2 or not _WHOLE.fullmatch(fields[1]):
        raise Rejected("header", f"{name} does not begin with a record line: {_quote(line)}")
    count = int(fields[1])
    if not 0 < count <= MOST_SIGNALS:
        raise Rejected("header", f"{name} announces {fields[1]} signals")
    if len(fields) < 3:
        raise Rejected("rate", f"{name} gives no sample rate (WFDB programs would assume 250 Hz)")
    match = _RATE.fullmatch(fields[2])
    rate = float(match["rate"]) if match else 0.0
    if not 0 < rate < float("inf"):
        raise Rejected("rate", f"{name}: {_quote(fields[2])} is no sample rate")
    samples = _whole(fields[3], f"{name}: number of samples") if len(fields) > 3 else 0
    if samples < 0:
        raise Rejected("header", f"{name}: {samples} samples")
    return int(record["segments"] or 0), count, rate, samples or None


def _signal(line: str, number: int, name: str) -> Signal:
    usual = _USUAL_LINE.match(line)
    if usual is not None:
        file, form, frame, skew, offset, gain, baseline, unit, zero, first, checksum, lead = usual.groups()
        return _checked(
            Signal(
                file,
                int(form),
                int(frame) if frame else 1,
                int(skew) if skew else 0,
                int(offset) if offset else 0,
                float(gain),
                int(baseline or zero),
                unit,
                int(zero),
                int(first),
                int(checksum),
                lead,
            ),
            number,
            name,
        )
    where = f"{name}, signal {number}"
    fields = line.split(None, 8)
    form = _FORMAT.fullmatch(fields[1]) if len(fields) > 1 else None
    if form is None:
        raise Rejected("header", f"{where}: {_quote(line)} does not describe a signal")
    if len(fields) < 3:
        raise Rejected("gain", f"{where}: not given ({_ASSUMED_GAIN})")
    gain = _GAIN.fullmatch(fields[2])
    if gain is None:
        raise Rejected("gain", f"{where}: {_quote(fields[2])} is no gain and unit such as 1000(0)/mV")
    resolution, zero, first, checksum, block = (
        _whole(fields[position], f"{where}: {what}") if len(fields) > position else None
        for position, what in enumerate(("ADC resolution", "ADC zero", "initial value", "checksum", "block size"), start=3)
    )
    del resolution, block
    return _checked(
        Signal(
            fields[0],
            int(form["format"]),
            int(form["frame"] or 1),
            int(form["skew"] or 0),
            int(form["offset"] or 0),
            float(gain["gain"]),
            int(gain["baseline"] or zero or 0),
            gain["unit"] or "",
            zero or 0,
            first,
            checksum,
            fields[8].strip() if len(fields) > 8 else "",
        ),
        number,
        name,
    )


def _checked(signal: Signal, number: int, name: str) -> Signal:
    if not GAINS[0] <= signal.gain <= GAINS[1]:
        what = f"{signal.gain:g} numbers per unit" if signal.gain else f"0, not calibrated ({_ASSUMED_GAIN})"
        raise Rejected("gain", f"{name}, signal {number}: {what}")
    if not -WIDEST_BASELINE <= signal.baseline < WIDEST_BASELINE:
        raise Rejected("header", f"{name}, signal {number}: baseline {signal.baseline}")
    if not 0 < signal.frame <= MOST_SAMPLES_PER_FRAME:
        raise Rejected("header", f"{name}, signal {number}: {signal.frame} samples per frame")
    if "/" in signal.file or signal.file in ("-", ".", ".."):
        raise Rejected("header", f"{name}, signal {number}: {_quote(signal.file)} is no file beside the header")
    return signal


def _segment(line: str, name: str) -> Segment:
    match = _SEGMENT.fullmatch(line)
    if match is None or match["name"] in (".", ".."):
        raise Rejected("header", f"{name}: {_quote(line)} does not name a segment and its samples")
    return Segment(match["name"], int(match["samples"]))


def _whole(text: str, what: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise Rejected("header", f"{what}: {_quote(text)} is no whole number")
    return int(text)


def _quote(text: str) -> str:
    text = one_line(text)
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
