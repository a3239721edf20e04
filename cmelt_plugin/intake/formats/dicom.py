"""ECG waveforms in DICOM files (12-lead, general, ambulatory), opened by pydicom.

Source: DICOM PS3.3, C.10.9 (waveform module) and A.34 (the waveform objects). A file holds multiplex groups: channels sampled
together. A median beat is not taken for the rhythm; leads that the device derived from others are. A sample becomes a voltage
by the channel's sensitivity, its correction factor, and its baseline: the voltage of a sample of 0.
"""

from __future__ import annotations

import bisect
import io
import math
import re
import warnings
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.lead_codes import LEAD_NAMES, lead_name
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.contract import MILLIVOLTS, Rejected, check_array, one_line
from cmelt_plugin.data.readers.dicom_library import import_pydicom
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.patient_facts import DAYS_A_YEAR, age_between, moment, plausible_age
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.refusal import refuse, refusing, whole_file

MARK = b"DICM"
MOST_CHANNELS = 512
DEFLATED = b"1.2.840.10008.1.2.1.99"  # wherever it stands: what is packed so may become of any size
ECG_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.9.1.{number}" for number in (1, 2, 3, 4))
"""12-lead, general, ambulatory, general of 32 bits."""

_TYPES = {"SB": "i1", "UB": "u1", "SS": "i2", "US": "u2", "SL": "i4", "UL": "u4"}
# The number of a lead is the end of its code in SCPECG ("5.6.3-9-1") and in MDC ("2:1", or partition and number together).
_CODES = {"SCPECG": re.compile(r"5\.6\.3-9-(\d{1,3})", re.ASCII), "MDC": re.compile(r"2:(\d{1,3})", re.ASCII)}
_MDC_PARTITION = 2 << 16
FILTERS = (("FilterLowFrequency", "high-pass"), ("FilterHighFrequency", "low-pass"), ("NotchFilterFrequency", "notch"))
_AVERAGED = re.compile("median|average|template|representative", re.IGNORECASE)
LONGEST_BEAT = 2.0  # seconds
_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / DAYS_A_YEAR, "D": 1 / DAYS_A_YEAR}


class Group(NamedTuple):
    """A multiplex group of voltages."""

    label: str
    rate: float
    offset: float
    """Seconds from the time of acquisition."""
    leads: tuple[str, ...]
    signal: np.ndarray
    """float32 mV ``[leads, samples]``."""
    filters: str
    derived: bool
    notes: tuple[str, ...]


class Part(NamedTuple):
    """A lead of a group, and where it lies in the recording."""

    group: Group
    row: int
    place: int
    """Samples from the start of the first group on."""

    @property
    def lead(self) -> str:
        return self.group.leads[self.row]

    @property
    def stop(self) -> int:
        return self.place + self.group.signal.shape[1]


def matches(head: bytes, path: str) -> bool:
    return head[128:132] == MARK or str(path).lower().endswith((".dcm", ".dicom"))


@refusing("a DICOM file")
def read(path: str) -> Recording:
    """Read the rhythm.

    Raises:
        DataError: damaged, without an ECG, or uncalibrated; or pydicom is not installed.
    """
    pydicom = import_pydicom()
    data = whole_file(path)
    if data[128:132] != MARK:
        refuse(path, "does not begin as a DICOM file (128 bytes, DICM)", "export it as a DICOM file, with its preamble")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that do not conform: those that matter are checked here
        try:
            return _read(path, pydicom, data)
        except (DataError, MemoryError, Rejected):
            raise
        except Exception as error:  # pydicom raises anything on damaged bytes, and here they are in memory already
            refuse(path, f"cannot be read as a DICOM file: {type(error).__name__}: {error}")


def _read(path: str, pydicom: Any, data: bytes) -> Recording:
    if DEFLATED in data:
        refuse(path, "is deflated", "export it without compression (Explicit VR Little Endian)")
    # From memory: pydicom asks a file for as many bytes as an element announces.
    content = pydicom.dcmread(io.BytesIO(data))
    kind = str(content.get("SOPClassUID", ""))
    if kind not in ECG_CLASSES:
        name = pydicom.uid.UID(kind).name if kind else "of no class"
        refuse(path, f"holds no ECG waveform but {one_line(name)}", "export the waveform itself, not its picture or report")
    items = list(content.get("WaveformSequence") or ())
    if not items:
        refuse(path, "holds no waveform")
    _, little = content.original_encoding
    order = "<" if little else ">"
    check_array(path, sum(map(_values, items)))
    rhythms = [_group(path, item, order) for item in items if not _is_beat(item)]
    if not rhythms:
        refuse(path, "holds median beats alone", "export the rhythm with them")
    groups = [group for group in rhythms if group.leads]
    if not groups:
        refuse(path, f"{rhythms[0].label}: no channel is a calibrated voltage", "export the ECG calibrated")
    signal, leads, rate, offset, notes = _joined(path, groups)
    notes += [note for group in rhythms if not group.leads for note in group.notes]
    if len(items) > len(rhythms):
        notes.append(f"{len(items) - len(rhythms)} derived groups, such as median beats, are left out.")
    acquired = _moment(content, "AcquisitionDateTime", "") or _moment(content, "AcquisitionDate", "AcquisitionTime")
    age = re.fullmatch(r"(\d{3})([YMWD])", str(content.get("PatientAge") or ""), re.ASCII)
    birth = _moment(content, "PatientBirthDate", "")
    return Recording(
        signal,
        rate,
        leads,
        start=_later(acquired, offset),
        sex={"M": "M", "F": "F"}.get(str(content.get("PatientSex") or "")),
        age=plausible_age(int(age[1]) * _YEARS[age[2]]) if age else age_between(birth, acquired),
        device=one_line(f"{content.get('Manufacturer') or ''} {content.get('ManufacturerModelName') or ''}"),
        filters="; ".join(dict.fromkeys(group.filters for group in groups if group.filters)),
        notes=tuple(notes),
    )


def _values(item: Any) -> int:
    """Samples that the bytes of a group hold; a wrong number of bits is refused later, when the group is unpacked."""
    return len(item.get("WaveformData") or b"") // max(int(item.get("WaveformBitsAllocated") or 8) // 8, 1)


def _is_beat(item: Any) -> bool:
    """Whether a group is a median beat, by its label or as it is both derived and short; leads may be derived, too (EASI)."""
    rate = float(item.get("SamplingFrequency") or 0)
    short = rate <= 0 or float(item.get("NumberOfWaveformSamples") or 0) / rate < LONGEST_BEAT
    return bool(_AVERAGED.search(str(item.get("MultiplexGroupLabel") or ""))) or (short and _is_derived(item))


def _is_derived(item: Any) -> bool:
    return str(item.get("WaveformOriginality") or "") == "DERIVED"


def _group(path: str, item: Any, order: str) -> Group:
    label = one_line(item.get("MultiplexGroupLabel") or "waveform")
    channels, samples = int(item.NumberOfWaveformChannels), int(item.NumberOfWaveformSamples)
    rate = float(item.SamplingFrequency)
    offset = float(item.get("MultiplexGroupTimeOffset") or 0) / 1000
    definitions = list(item.ChannelDefinitionSequence)
    kind, bits = str(item.WaveformSampleInterpretation), int(item.WaveformBitsAllocated)
    if kind not in _TYPES:
        refuse(path, f"{label}: samples of the kind {kind}", "export it as numbers of 16 bits (SS)")
    stored = np.dtype(f"{order}{_TYPES[kind]}")
    size = channels * samples * stored.itemsize
    data = bytes(item.WaveformData)
    if not 0 < channels <= MOST_CHANNELS or channels != len(definitions) or bits != 8 * stored.itemsize or samples <= 0:
        refuse(path, f"{label}: {channels} channels, {len(definitions)} defined, {samples:,} samples of {bits} bits ({kind})")
    if len(data) - size not in (0, size % 2):
        refuse(path, f"{label}: {len(data):,} bytes of samples where {size:,} are announced")
    if not 0 < rate < 1e6 or not math.isfinite(offset):
        refuse(path, f"{label}: {rate:g} Hz, {offset:g} s after the start")
    counts = np.frombuffer(data[:size], stored).reshape(samples, channels)
    missing, notes = _missing(counts, bytes(item.get("WaveformPaddingValue") or b""), label)
    names, rows, filters, other = [], [], [], []
    for number, channel in enumerate(definitions):
        name, scale, baseline = _channel(path, channel, f"{label}, channel {number + 1}")
        if scale is None:
            other.append(name)
            continue
        row = (counts[:, number] * scale + baseline).astype(np.float32)
        row[missing[:, number]] = np.nan
        names.append(name)
        rows.append(row)
        filters.append(_filters(channel))
        if float(channel.get("ChannelSampleSkew") or 0) or float(channel.get("ChannelTimeSkew") or 0):
            notes.append(f"{name} was sampled later than others by the file, which is not corrected.")
    if other:
        notes.append(f"Left out: {', '.join(other[:10])}, no calibrated voltages.")
    if len(set(names)) < len(names):
        refuse(path, f"{label}: a lead twice among {', '.join(names[:12])}")
    filtered = "; ".join(dict.fromkeys(filter(None, filters)))
    signal = np.stack(rows) if rows else np.empty((0, samples), np.float32)
    return Group(label, rate, offset, tuple(names), signal, filtered, _is_derived(item), tuple(notes))


def _channel(path: str, channel: Any, where: str) -> tuple[str, float | None, float]:
    """Name of the lead, mV per count (None = no voltage, or not calibrated and no standard lead) and mV of a count of 0."""
    sources = list(channel.get("ChannelSourceSequence") or ())
    source = sources[0] if sources else {}
    code, scheme = str(source.get("CodeValue") or ""), str(source.get("CodingSchemeDesignator") or "")
    found = _CODES[scheme].fullmatch(code) if scheme in _CODES else None
    number = int(found[1]) if found else int(code) - _MDC_PARTITION if scheme == "MDC" and re.fullmatch(r"\d{6}", code) else 0
    name = LEAD_NAMES.get(number) or lead_name(one_line(source.get("CodeMeaning") or channel.get("ChannelLabel") or where))
    units = list(channel.get("ChannelSensitivityUnitsSequence") or ())
    if not units or channel.get("ChannelSensitivity") is None:
        if name not in LEADS:  # such as the marks of a button
            return name, None, 0.0
        refuse(path, f"{where} ({name}) gives no sensitivity: it is not calibrated", "export it calibrated")
    unit = str(units[0].get("CodeValue") or "")
    scale = float(channel.ChannelSensitivity) * float(channel.get("ChannelSensitivityCorrectionFactor") or 1)
    baseline = float(channel.get("ChannelBaseline") or 0)
    if not scale or not math.isfinite(scale) or not math.isfinite(baseline):
        refuse(path, f"{where} ({name}): sensitivity {scale:g}, baseline {baseline:g}")
    factor = MILLIVOLTS.get(unit.lower())
    return name, None if factor is None else scale * factor, baseline * (factor or 1)


def _missing(counts: np.ndarray, padding: bytes, label: str) -> tuple[np.ndarray, list[str]]:
    """Which samples are none, and notes: those of the padding value, and the lowest number that signed samples can have."""
    missing = np.zeros(counts.shape, bool)
    notes = []
    if counts.dtype.kind == "i" and counts.itemsize > 1:
        missing |= counts == np.iinfo(counts.dtype).min
    if len(padding) >= counts.itemsize:
        value = np.frombuffer(padding[: counts.itemsize], counts.dtype)[0]
        padded = counts == value
        others = counts[~(padded | missing)]
        # Writers fill the field with 0, which is an ordinary sample: a marker lies where no sample does.
        if padded.any() and value != 0 and (not len(others) or value < others.min() or value > others.max()):
            missing |= padded
        elif padded.any():
            notes.append(f"{label}: the padding value of the file, {value}, is an ordinary sample and is taken for one.")
    return missing, notes


def _joined(path: str, groups: list[Group]) -> tuple[np.ndarray, tuple[str, ...], float, float, list[str]]:
    """The groups as one, of the rate that most is sampled at: each lead has its parts in time, and is missing between them.

    Also their leads, rate, offset in seconds, and notes.
    """
    seconds: dict[float, float] = {}
    # Derived leads may be the others at a lower rate.
    for group in [group for group in groups if not group.derived] or groups:
        seconds[group.rate] = seconds.get(group.rate, 0) + group.signal.size / group.rate
    rate = max(seconds, key=seconds.__getitem__)
    start = min(group.offset for group in groups)
    places = [round((group.offset - start) * group.rate) for group in groups]
    every = [Part(group, row, place) for place, group in zip(places, groups) for row in range(len(group.leads))]
    otherwise = [part for part in every if part.group.rate != rate]
    parts, repeated = _once([part for part in every if part.group.rate == rate], rate)
    far: list[Part] = []
    # Gaps longer than the groups are a mistake of an offset; and no offset may claim memory.
    if _samples(parts) > 2 * sum(group.signal.shape[1] for group in groups if group.rate == rate):
        main = max(parts, key=lambda part: part.group.signal.size)
        far = [part for part in parts if part.stop <= main.place or part.place >= main.stop]
        parts = [part for part in parts if part.stop > main.place and part.place < main.stop]

    first, samples = min(part.place for part in parts), _samples(parts)
    known = {part.lead for part in parts}
    leads = tuple(dict.fromkeys(part.lead for part in every if part.lead in known))
    check_array(path, len(leads) * samples)  # which grows with the square of the number of groups
    signal = np.full((len(leads), samples), np.nan, np.float32)
    rows = {lead: row for row, lead in enumerate(leads)}
    spans: dict[str, list[tuple[int, int]]] = {lead: [] for lead in leads}
    for part in reversed(parts):  # the first last: where two touch, it stays
        signal[rows[part.lead], part.place - first : part.stop - first] = part.group.signal[part.row]
        spans[part.lead].append((part.place, part.stop))

    notes = list(dict.fromkeys(note for group in groups if group.rate == rate for note in group.notes))
    derived = dict.fromkeys(part.lead for part in sorted(parts, key=lambda part: rows[part.lead]) if part.group.derived)
    if derived:
        notes.append(f"The device derived {', '.join(list(derived)[:12])} from other leads.")
    if len({tuple(sorted(found)) for found in spans.values()}) > 1:
        if any(sum(stop - place for place, stop in found) < samples for found in spans.values()):
            notes.append("The leads were not recorded at the same time; where one was not recorded it is missing.")
    elif sum(stop - place for place, stop in spans[leads[0]]) < samples:
        notes.append("The recording has gaps, in which every lead is missing.")
    for left, reason in (
        (repeated, "as a longer or original group has the lead at the same time"),
        (otherwise, f"as not sampled at {rate:g} Hz"),
        (far, "as the file says that it was recorded at quite another time"),
    ):
        if left:
            names = dict.fromkeys(f"{part.lead} ({part.group.label})" for part in left)
            notes.append(f"Left out, {reason}: {', '.join(list(names)[:12])}.")
    return signal, leads, rate, min(part.group.offset for part in parts), notes


def _samples(parts: list[Part]) -> int:
    return max(part.stop for part in parts) - min(part.place for part in parts)


def _once(parts: list[Part], rate: float) -> tuple[list[Part], list[Part]]:
    """Parts of which none repeats a lead at the same time, first original and long ones; and those that repeat others."""
    touching = 1 + rate / 1000  # samples: offsets are written in milliseconds, which are no whole samples
    kept, repeated = [], []
    spans: dict[str, list[tuple[int, int]]] = {}
    for part in sorted(parts, key=lambda part: (part.group.derived, part.place - part.stop)):
        known = spans.setdefault(part.lead, [])
        place = bisect.bisect(known, (part.place, part.stop))
        near = known[max(place - 1, 0) : place + 1]
        if any(min(stop, part.stop) - max(start, part.place) > touching for start, stop in near):
            repeated.append(part)
        else:
            known.insert(place, (part.place, part.stop))
            kept.append(part)
    return kept, repeated


def _filters(channel: Any) -> str:
    words = []
    for field, name in FILTERS:
        value = float(channel.get(field) or 0)
        if value > 0:
            words.append(f"{name} {value:g} Hz")
    return ", ".join(words)


def _later(time: datetime | None, seconds: float) -> datetime | None:
    """A time so many seconds later, to the second; None where no calendar has it."""
    try:
        return None if time is None else moment(*(time + timedelta(seconds=seconds)).timetuple()[:6])
    except OverflowError:
        return None


def _moment(content: Any, day: str, time: str) -> datetime | None:
    """A date, or date and time, in the form of DA, TM and DT: digits in a row."""
    text = str(content.get(day) or "") + (str(content.get(time) or "") if time else "")
    found = re.match(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?", text, re.ASCII)
    return moment(*(int(part) for part in found.groups() if part)) if found else None
