"""Any ECG file as a recording: its format is found by its content, by its name where the content says nothing."""

from __future__ import annotations

import os
from typing import Protocol

from cmelt_plugin.data.readers.arrays import Place
from cmelt_plugin.data.readers.contract import open_file
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
from cmelt_plugin.intake.recording import HEAD, Recording
from cmelt_plugin.intake.refusal import refuse, refusing


class Format(Protocol):
    """What a module of :mod:`cmelt_plugin.intake.formats` offers."""

    def matches(self, head: bytes, path: str) -> bool:
        """Whether a file is of this format, by its first bytes; or by its path, which may be empty, where they do not tell."""

    def read(self, path: str) -> Recording:
        """The recording in a file.

        Raises:
            DataError: it is damaged or in a form that is not read; the message names the file and what helps.
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
def read_ecg(path: str) -> Recording:
    """Read an ECG of any format of :data:`FORMATS`.

    Args:
        path: a file; a WFDB record, with or without suffix; or a part of an array, as :mod:`.formats.arrays` says.

    Raises:
        DataError: of no format that is read, or not readable; the message names the file and what helps.
        OSError, MemoryError: trouble of the machine.
    """
    head = _head(path)
    for name in ("", path):
        for reader in FORMATS.values():
            if reader.matches(head, name):
                return reader.read(path)
    refuse(path, "is of no format that is read", f"export it as one of these: {', '.join(FORMATS)}")


def _head(path: str) -> bytes:
    """The first bytes of a file; none where the path means a record or a part of a file, which its reader looks for."""
    if not os.path.exists(path) and (os.path.isfile(f"{record_stem(path)}.hea") or os.path.isfile(Place.parse(path).file)):
        return b""
    handle, _ = open_file(path)
    with handle:
        return handle.read(HEAD)
