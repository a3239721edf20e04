"""How a reader refuses a file: in one line that names it, says what is wrong and what helps."""

from __future__ import annotations

import functools
import os
from typing import Any, Callable, NoReturn, TypeVar

import numpy as np

from cmelt_plugin.data.readers.contract import LARGEST_ARRAY, Rejected, file_name, one_line, read_file, reader
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.recording import Recording

MOST_VALUES = LARGEST_ARRAY // 8
"""Samples of all leads together that one recording may have."""
LARGEST_FILE = 1 << 28  # bytes; of formats that are read at once: 12 leads at 1000 Hz, 16 bits, for three hours
EXPORT_AGAIN = "copy or export the file again"
IN_WINDOWS = "read it in windows (docs/formats.md)"

Read = TypeVar("Read", bound=Callable[..., Recording])


def refuse(path: str | os.PathLike, what: str, remedy: str = EXPORT_AGAIN) -> NoReturn:
    """Refuse a file.

    Raises:
        DataError: always.
    """
    raise DataError(f"{one_line(os.fspath(path))}: {one_line(what)}; {remedy}")


def refusing(kind: str) -> Callable[[Read], Read]:
    """Make what a damaged file provokes in a reader a refusal, too; ``kind`` names the format, as in "an EDF file".

    So are infinite numbers, and recordings without any.

    What the machine is to blame for passes through, as :mod:`cmelt_plugin.data.readers.contract` says.
    """

    def decorate(read: Read) -> Read:
        kept = reader(read)

        @functools.wraps(read)
        def safe(path: str, *reading: Any, **options: Any) -> Recording:
            try:
                with np.errstate(over="ignore", invalid="ignore"):  # found below
                    recording: Recording = kept(os.fspath(path), *reading, **options)
            except Rejected as error:
                what = str(error).split(": ", 1)[1]
                name = f"{file_name(path)}: "  # the whole path is there already
                refuse(path, f"cannot be read as {kind}: {what[len(name) :] if what.startswith(name) else what}")
            if np.isinf(recording.signal).any():
                refuse(path, "holds numbers too large for voltages")
            if np.isnan(recording.signal).all():
                refuse(path, "holds no samples")
            return recording

        return safe  # type: ignore[return-value]

    return decorate


def whole_file(path: str) -> bytes:
    """All bytes of a file of at most :data:`LARGEST_FILE`.

    Raises:
        Rejected: it is larger, or no file.
        OSError: from the system.
    """
    return read_file(path, LARGEST_FILE)
