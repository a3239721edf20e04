"""EDF and EDF+: heads of text, then data records in which every signal has its samples, 16 bits each.

Source: Kemp et al., Electroenceph clin Neurophysiol 82:391 (1992) and https://www.edfplus.info/specs/edfplus.html. The signals
of an ECG are picked by their labels; annotations are ignored. Discontinuous recordings (EDF+D) are refused, since samples
that were not taken one after the other would stand one after the other.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import NamedTuple

import numpy as np

from cmelt_plugin.data.lead_codes import lead_name
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.contract import ALL, MILLIVOLTS, Reading, open_file, read_exactly, takes_reading
from cmelt_plugin.intake.patient_facts import age_between, moment
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.refusal import IN_WINDOWS, MOST_VALUES, refuse, refusing

VERSION = b"0       "
ANNOTATIONS = "EDF Annotations"
MOST_SIGNALS = 512
WIDEST_RECORD = 1 << 26  # bytes; the standard recommends 61,440
CHUNK = 1 << 23  # bytes of data records read at once
COARSEST = 0.02
"""mV a count; recorders resolve 0.01 and better, so that more is a scale that nobody set."""

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_ECG = re.compile(r"\b(ECG|EKG)|^M(L|C)?(I|II|III|L|CL\d|[1-6]|V[1-6])$", re.IGNORECASE)
# What EDF+ names other signals by, and electrodes on the head.
_OTHER = re.compile(
    r"^(EEG|EOG|EMG|ERG|EP|MEG|MCG|GSR|Temp|Resp|Flow|SaO2|SpO2|Light|Sound|Event|Pleth|Pulse|Snore|Thor|Abdo|Pos|Nasal|"
    r"Fp\d?|(AF|F|FC|FT|C|CP|T|TP|P|PO|O|A|M)(z|\d{1,2}))\b",
    re.IGNORECASE,
)
_BIRTH = re.compile(r"(\d{1,2})-([A-Za-z]{3})-(\d{4})", re.ASCII)
_CLOCK = re.compile(r"(\d\d)[.:](\d\d)[.:](\d\d)", re.ASCII)


class Signal(NamedTuple):
    """A signal as the head describes it."""

    label: str
    unit: str
    physical: tuple[float, float]
    digital: tuple[float, float]
    filters: str
    offset: int
    """Samples before it in a data record."""
    samples: int
    """In a data record."""


def matches(head: bytes, path: str) -> bool:
    is_edf = head[:8] == VERSION and re.fullmatch(rb"\d+ *", head[184:192]) is not None
    return is_edf or str(path).lower().endswith(".edf")


@takes_reading
@refusing("an EDF file")
def read(path: str, reading: Reading = ALL) -> Recording:
    """Read the ECG of a recording, or the part of it that is wanted.

    Raises:
        DataError: damaged, discontinuous, without ECG, or uncalibrated.
    """
    handle, size = open_file(path)
    with handle:
        main = read_exactly(handle, 0, min(size, 256))
        if len(main) < 256 or main[:8] != VERSION:
            refuse(path, "does not begin with the head of an EDF file (BDF, of 24 bits, is not read)")
        count = int(_number(path, main[252:256], "signals"))
        if not 0 < count <= MOST_SIGNALS or _number(path, main[184:192], "bytes of the head") != 256 * (count + 1):
            refuse(path, f"{count} signals and a head of {_text(main[184:192])} bytes")
        signals = _signals(path, read_exactly(handle, 256, 256 * count))
        if _text(main[192:236]).startswith("EDF+D"):
            refuse(path, "is discontinuous (EDF+D), with gaps between its records", "export it continuous (EDF+C)")
        width = sum(signal.samples for signal in signals)
        records = int(_number(path, main[236:244], "data records"))
        seconds = _number(path, main[244:252], "seconds of a data record")
        there = (size - 256 * (count + 1)) // (2 * width)
        notes = []
        if records == -1:  # the recorder did not finish the file
            records = there
            notes.append("The file does not say how long it is; all of its whole data records are read.")
        if not 0 < records <= there:
            refuse(path, f"{records:,} data records announced, {there:,} there")
        if records < there:
            notes.append(f"The file has {there} data records and announces {records}; the rest is left out.")
        chosen, more = _ecg(path, signals)
        notes += more
        rate = chosen[0].samples / seconds if seconds > 0 else 0.0
        if not 0 < rate < 1e6:
            refuse(path, f"{chosen[0].samples} samples in a data record of {seconds:g} s")
        size = chosen[0].samples  # of a lead in a data record
        start, stop = reading.span(records * size, rate)
        if (stop - start) * len(chosen) > MOST_VALUES:
            refuse(
                path, f"{stop - start:,} samples of {len(chosen)} leads, at most {MOST_VALUES:,} are read together", IN_WINDOWS
            )
        signal = np.empty((len(chosen), stop - start), np.float32)
        step = max(1, CHUNK // (2 * width))
        for first in range(start // size, -(-stop // size), step):
            number = min(step, records - first)
            part = read_exactly(handle, 256 * (count + 1) + first * width * 2, number * width * 2)
            counts = np.frombuffer(part, "<i2").reshape(number, width)
            skipped = max(0, start - first * size)
            place = first * size + skipped - start
            for row, one in zip(signal, chosen):
                values = counts[:, one.offset : one.offset + size].reshape(-1)[skipped : stop - first * size]
                row[place : place + len(values)] = _millivolts(one, values)
    coarse = max(_resolution(one) for one in chosen)
    scale = f"a count is {coarse:.3g} mV by the scale in the file, coarser than recorders are: it may be wrong"
    began, sex, age = _facts(main)
    return Recording(
        signal,
        rate,
        tuple(lead_name(one.label) for one in chosen),
        start=began,
        sex=sex,
        age=age,
        filters="; ".join(dict.fromkeys(one.filters for one in chosen if one.filters)),
        notes=tuple(notes),
        doubtful=(scale,) if coarse > COARSEST else (),
        samples=reading.total(records * size),
    )


def _signals(path: str, head: bytes) -> list[Signal]:
    count = len(head) // 256
    columns = []
    place = 0
    for size in (16, 80, 8, 8, 8, 8, 8, 80, 8, 32):
        columns.append([head[place + size * n : place + size * (n + 1)] for n in range(count)])
        place += size * count
    signals: list[Signal] = []
    offset = 0
    for label, _, unit, low, high, least, most, filters, samples, _ in zip(*columns):
        name = _text(label)
        number = int(_number(path, samples, f"samples of {name}"))
        if not 0 < number <= WIDEST_RECORD // 2:
            refuse(path, f"{number} samples of {name} in a data record")
        physical = _number(path, low, f"physical minimum of {name}"), _number(path, high, f"physical maximum of {name}")
        digital = _number(path, least, f"digital minimum of {name}"), _number(path, most, f"digital maximum of {name}")
        signals.append(Signal(name, _text(unit), physical, digital, _text(filters), offset, number))
        offset += number
    if offset > WIDEST_RECORD // 2:
        refuse(path, f"data records of {2 * offset:,} bytes, at most {WIDEST_RECORD:,} are read")
    return signals


def _ecg(path: str, signals: list[Signal]) -> tuple[list[Signal], list[str]]:
    """The signals of the ECG, checked, and notes on the others."""
    others = [signal for signal in signals if signal.label != ANNOTATIONS]
    chosen = [one for one in others if lead_name(one.label) in LEADS or _ECG.search(one.label)]
    notes = []
    if not chosen:
        chosen = [one for one in others if one.unit.lower() in MILLIVOLTS and not _OTHER.match(one.label)]
        notes.append("No label says that a signal is an ECG; all voltages are read.")
    shown = ", ".join(one.label or "(no label)" for one in others[:10])
    if not chosen:
        refuse(path, f"holds no ECG, but {shown or 'no signal'}", "label its leads I, II, ... or ECG")
    left = [one.label for one in others if one not in chosen]
    if left:
        notes.append(f"Left out: {', '.join(left[:10])}{' and more' if len(left) > 10 else ''}.")
    names = [lead_name(one.label) for one in chosen]
    if len(set(names)) < len(names):
        refuse(path, f"has a lead twice among {', '.join(names[:12])}", "label each lead by its own name")
    if len({one.samples for one in chosen}) > 1:
        refuse(path, f"its leads have different sample rates: {shown}", "export them at one rate")
    for one in chosen:
        if one.unit.lower() not in MILLIVOLTS:
            refuse(path, f"{one.label} has the unit {one.unit!r}, no voltage", "write V, mV, uV or nV as physical dimension")
        if one.physical[0] == one.physical[1] or not one.digital[0] < one.digital[1]:
            refuse(path, f"{one.label}: physical {one.physical}, digital {one.digital} give no scale", "export it calibrated")
    return chosen, notes


def _resolution(signal: Signal) -> float:
    """mV a count."""
    (low, high), (least, most) = signal.physical, signal.digital
    return abs((high - low) / (most - least)) * MILLIVOLTS[signal.unit.lower()]


def _millivolts(signal: Signal, counts: np.ndarray) -> np.ndarray:
    (low, high), (least, most) = signal.physical, signal.digital
    return ((counts - least) * ((high - low) / (most - least)) + low) * MILLIVOLTS[signal.unit.lower()]


def _facts(main: bytes) -> tuple[datetime | None, str | None, float | None]:
    """Start, sex and age; the first with the year of EDF+, where there is one, else of the years 1985 to 2084."""
    patient, recording = _text(main[8:88]).split(" "), _text(main[88:168]).split(" ")
    clock = _CLOCK.fullmatch(_text(main[176:184]))
    time = tuple(map(int, clock.groups())) if clock else ()
    day = _date(recording[1]) if recording[0] == "Startdate" and len(recording) > 1 else None
    if day is None:
        short = _CLOCK.fullmatch(_text(main[168:176]))
        if short:
            year = int(short[3])
            day = (year + (1900 if year >= 85 else 2000), int(short[2]), int(short[1]))
    start = moment(*day, *time) if day else None
    sex, birth = (patient[1], _date(patient[2])) if len(patient) > 2 else ("", None)
    return start, sex if sex in ("F", "M") else None, age_between(moment(*birth) if birth else None, start)


def _date(text: str) -> tuple[int, int, int] | None:
    found = _BIRTH.fullmatch(text)
    if found is None or found[2].upper() not in _MONTHS:
        return None
    return int(found[3]), _MONTHS.index(found[2].upper()) + 1, int(found[1])


def _number(path: str, field: bytes, what: str) -> float:
    text = _text(field)
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII) or not math.isfinite(float(text)):
        refuse(path, f"{text!r} where the {what} should stand")
    return float(text)


def _text(field: bytes) -> str:
    return field.decode("latin-1").strip(" \0")
