"""Any ECG file as a recording: its format is found by its content, by its name where the content says nothing."""

from __future__ import annotations

import os
from typing import Callable, Protocol

from cmelt_plugin.data.readers.arrays import Place
from cmelt_plugin.data.readers.contract import ALL, Reading, open_file, takes_parts, with_reading
from cmelt_plugin.data.readers.record_paths import record_stem
from cmelt_plugin.intake.formats import (
    aecg,
    apple_watch,
    arrays,
    cardiosoft,
    dicom,
    edf,
    ishne,
    muse,
    philips,
    schiller,
    scp,
    wfdb,
)
from cmelt_plugin.intake.recording import HEAD, Recording, part_of
from cmelt_plugin.intake.refusal import refuse, refusing
from cmelt_plugin.intake.waveforms import check_amplitude, check_length, check_rate, with_limb_leads


class Format(Protocol):
    """What a module of :mod:`cmelt_plugin.intake.formats` offers."""

    def matches(self, head: bytes, path: str) -> bool:
        """Whether a file is of this format, by its first bytes; or by its path, which may be empty, where they do not tell."""

    @property
    def read(self) -> Callable[..., Recording]:
        """A function of a path that returns the recording in that file; it may take the part that is wanted as ``reading``.

        It raises DataError where the file is damaged or in a form that is not read; the message names the file and what helps.
        """


FORMATS: dict[str, Format] = {
    "DICOM": dicom,
    "SCP-ECG": scp,
    "ISHNE": ishne,
    "EDF": edf,
    "GE MUSE XML": muse,
    "Philips XML": philips,
    "HL7 aECG": aecg,
    "Schiller XML": schiller,
    "CardioSoft XML": cardiosoft,
    "Apple Watch CSV": apple_watch,
    # Known by their names alone, and so the last.
    "WFDB": wfdb,
    "MATLAB, NumPy, HDF5 and text with a JSON file beside them": arrays,
}
"""Modules by what people call their format."""


@refusing("an ECG")
def read_ecg(path: str, reading: Reading = ALL) -> Recording:
    """Read an ECG of any format of :data:`FORMATS`; III, aVR, aVL and aVF are computed where the file has I and II alone.

    Args:
        path: a file; a WFDB record, with or without suffix; or a part of an array, as :mod:`.formats.arrays` says.
        reading: the part that is wanted; all of it by default. Longer recordings are read in windows (:mod:`.windows`).

    Raises:
        DataError: of no format that is read, not readable, of a rate or voltages that no recorder has, or all of it less than a
            second; the message names the file and what helps.
        OSError, MemoryError: trouble of the machine.
    """
    read = format_of(path).read
    recording = with_reading(read, reading)(path)
    check_rate(path, recording.sample_rate)
    check_amplitude(path, recording.signal)
    if reading.part is None:
        check_length(path, recording.signal.shape[1], recording.sample_rate)
    if not takes_parts(read):
        recording = part_of(recording, *reading.span(recording.signal.shape[1], recording.sample_rate))
    return with_limb_leads(recording)


def format_of(path: str) -> Format:
    """The module that reads a file.

    Raises:
        DataError: it is of no format that is read.
        Rejected, OSError: it cannot be opened.
    """
    head = head_of(path)
    for name in ("", path):
        for reader in FORMATS.values():
            if reader.matches(head, name):
                return reader
    refuse(path, "is of no format that is read", f"export it as one of these: {', '.join(FORMATS)}")


def reads_parts(path: str) -> bool:
    """Whether a part of a file is read without the rest of it."""
    return takes_parts(format_of(path).read)


def head_of(path: str) -> bytes:
    """The first bytes of a file; none where the path means a record or a part of a file, which its reader looks for."""
    if not os.path.exists(path) and (os.path.isfile(f"{record_stem(path)}.hea") or os.path.isfile(Place.parse(path).file)):
        return b""
    handle, _ = open_file(path)
    with handle:
        return handle.read(HEAD)
