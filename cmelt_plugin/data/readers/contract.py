"""What every reader of recordings keeps to: which files are opened, how much is read, and whose fault a failure is.

A reader is a function of a path under :func:`reader`, so that these hold for training and serving alike:

- What the *file* is to blame for becomes :class:`Rejected`, a stable code and one short line. What the *machine* is to blame
  for (memory, disk, network file system, too many open files) passes through and stops the run: a good recording that could
  not be read tonight must not be listed as a bad one.
- Nothing but regular files is opened: a FIFO would wait forever, a device never end.
- No size is believed before the size of the file bears it out; so a shortage of memory is never a lying header's doing.
- Only the part that is needed is read (:class:`Reading`).
"""

from __future__ import annotations

import csv
import errno
import functools
import io
import math
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import IO, Any, Callable, NamedTuple, TypeVar

import numpy as np

# Millivolts per unit, by the lower-case unit. Both of Unicode's micro signs occur.
MILLIVOLTS = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "\u00b5v": 1e-3, "\u03bcv": 1e-3, "nv": 1e-6}

LARGEST_ARRAY = 1 << 29  # bytes of float64 that one recording may become: 12 leads at 500 Hz for three hours
LONGEST_DETAIL = 300  # characters of a reason

# What opening or reading says of a path that no waiting and no repair of the machine would change. Everything else that the
# system reports (EIO, ESTALE, ENOMEM, EMFILE, ENOSPC, ETIMEDOUT, ...) is trouble of the machine.
_MISSING = {errno.ENOENT, errno.ENOTDIR}
_UNREADABLE = {
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.ENXIO,
    errno.ENODEV,
    errno.EILSEQ,
    errno.EOVERFLOW,
    errno.EFBIG,
}
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}  # others are devices

# What decoders raise on damaged bytes. Not among them: MemoryError, OSError, and what only a mistake in this program raises.
_FAULTS_OF_FILES = (
    ValueError,  # UnicodeError too
    LookupError,
    ArithmeticError,
    TypeError,
    EOFError,
    RuntimeError,  # RecursionError and NotImplementedError too
    SystemError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    csv.Error,
)
_OPENING = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_ERRNO_IN_TEXT = re.compile(r"errno = (\d+)")  # how HDF5 words an error of the system


class Rejected(Exception):
    """A recording that cannot be used; ``str()`` gives ``code: what is wrong``, one line of UTF-8."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {one_line(detail)}")
        self.code = code


class Recording(NamedTuple):
    """A recording, or the part of it that was asked for, as its file holds it."""

    signal: np.ndarray
    """float [leads, samples], in ``units``; NaN where the file has no value."""
    leads: Sequence[str]
    units: Sequence[str]
    """One unit per lead."""
    rate: float
    """Hz."""
    samples: int | None = None
    """Samples of the whole recording where ``signal`` is the part of a :class:`Crop`; None = ``signal`` is all of it."""
    notes: tuple[str, ...] = ()
    """What was assumed or could not be verified, in sentences that are the same for all recordings they are true of."""
    doubtful: tuple[str, ...] = ()
    """What the file itself says against the recording, a sentence each."""
    ignored: tuple[str, ...] = ()
    """Leads of the file that are not in ``signal``, since they are none of the standard twelve."""


class Crop(NamedTuple):
    """The part of a recording that is kept."""

    seconds: float
    where: str = "start"
    """"start" or "centre"."""

    def span(self, samples: int, rate: float) -> tuple[int, int]:
        """First sample and the one after the last, of a recording with so many samples at so many Hz."""
        length = min(samples, math.ceil(self.seconds * rate))
        start = (samples - length) // 2 if self.where == "centre" else 0
        return start, start + length


class Span(NamedTuple):
    """The part of a recording between two samples."""

    start: int
    stop: int

    def span(self, samples: int, rate: float) -> tuple[int, int]:
        """The two, of a recording with so many samples.

        Raises:
            Rejected: it is shorter.
        """
        if samples < self.stop:
            raise Rejected("truncated", f"{samples} samples where {self.stop} or more are expected")
        return self.start, self.stop


class Reading(NamedTuple):
    """What is wanted of a recording."""

    part: Crop | Span | None = None
    """None = all of it."""
    accept_wrong_checksums: bool = False

    def span(self, samples: int, rate: float) -> tuple[int, int]:
        """First sample that is wanted and the one after the last."""
        return (0, samples) if self.part is None else self.part.span(samples, rate)

    def total(self, samples: int) -> int | None:
        """What :attr:`Recording.samples` is to be."""
        return samples if isinstance(self.part, Crop) else None


ALL = Reading()

Function = TypeVar("Function", bound=Callable[..., Any])
Returned = TypeVar("Returned")


def reader(function: Function) -> Function:
    """Make a function whose first argument is a path keep the contract above; it may be a method.

    Raises, when called:
        Rejected: the file is to blame, or the path.
        OSError, MemoryError: the machine is.
    """

    @functools.wraps(function)
    def read(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except OSError as error:
            raise _of_os_error(error, _path_among(args)) from None
        except _FAULTS_OF_FILES as error:
            raise Rejected("unreadable", f"{file_name(_path_among(args))}: {type(error).__name__}: {error}") from None

    return read  # type: ignore[return-value]


def takes_reading(function: Function) -> Function:
    """Mark a reader, or a class of readers, that takes a :class:`Reading` as second argument, ``reading``."""
    function.takes_reading = True  # type: ignore[attr-defined]
    return function


def with_reading(read: Callable[..., Returned], reading: Reading) -> Callable[[str], Returned]:
    """``read`` with its ``reading`` filled in, where it has one; other readers read all of a recording."""
    return functools.partial(read, reading=reading) if takes_parts(read) else read


def takes_parts(read: Callable[..., Any]) -> bool:
    """Whether a reader is marked by :func:`takes_reading`."""
    return bool(getattr(read, "takes_reading", False))


def check_file(path: str | os.PathLike) -> os.stat_result:
    """Refuse what is no regular file, without opening it.

    Raises:
        Rejected: a folder, FIFO, socket or device.
        OSError, ValueError: from the system.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "a device")
        raise Rejected("unreadable", f"{file_name(path)}: is {kind}, not a file")
    return status


def open_file(path: str | os.PathLike) -> tuple[io.FileIO, int]:
    """Open a regular file for reading; returns it and its size in bytes.

    Raises:
        Rejected: as :func:`check_file`.
        OSError, ValueError: from the system.
    """
    size = check_file(path).st_size
    # Not blocking: the path may have become a FIFO since.
    return os.fdopen(os.open(path, os.O_RDONLY | _OPENING), "rb", buffering=0), size


def read_file(path: str | os.PathLike, largest: int) -> bytes:
    """All bytes of a regular file.

    Raises:
        Rejected: not a regular file, or more than ``largest`` bytes.
        OSError, ValueError: from the system.
    """
    handle, size = open_file(path)
    with handle:
        if size > largest:
            raise Rejected("large", f"{file_name(path)}: {size:,} bytes, at most {largest:,} are read")
        return handle.read(size + 1)[: largest + 1]


def read_exactly(handle: IO[bytes], offset: int, count: int) -> bytes:
    """``count`` bytes from ``offset`` on.

    Raises:
        ValueError: the file ends before.
    """
    handle.seek(offset)
    parts = []
    while count > 0:
        part = handle.read(count)
        if not part:
            raise ValueError("the file ends too soon")
        parts.append(part)
        count -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def check_array(path: str | os.PathLike, values: int) -> None:
    """Refuse to make an array of so many float64 values for one recording.

    Raises:
        Rejected: it would be larger than :data:`LARGEST_ARRAY`.
    """
    if values * 8 > LARGEST_ARRAY:
        raise Rejected("large", f"{file_name(path)}: {values:,} samples at once, at most {LARGEST_ARRAY // 8:,} are read")


def one_line(text: Any) -> str:
    """A text as one short line of what UTF-8 can write."""
    line = " ".join(str(text).split()).encode("utf-8", "backslashreplace").decode("utf-8")
    line = "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in line)
    return line if len(line) <= LONGEST_DETAIL else f"{line[: LONGEST_DETAIL - 3]}..."


def file_name(path: Any) -> str:
    """The last part of a path, short enough for a message."""
    name = os.path.basename(os.fspath(path).rstrip("/"))
    name = os.fsdecode(name)
    return name if len(name) <= 100 else f"{name[:97]}..."


def _path_among(args: Sequence[Any]) -> Any:
    return next((arg for arg in args if isinstance(arg, (str, os.PathLike))), "")


def _of_os_error(error: OSError, path: Any) -> Exception:
    """The error itself where the machine is to blame, else the rejection it stands for."""
    number = error.errno
    if number is None:
        match = _ERRNO_IN_TEXT.search(str(error))
        if match is None or int(match[1]) == 0:  # a library's own complaint about the bytes
            return Rejected("unreadable", f"{file_name(path)}: {error}")
        number = int(match[1])
        error = OSError(number, os.strerror(number), os.fspath(path))
    name = file_name(error.filename if isinstance(error.filename, (str, bytes, os.PathLike)) else path)
    if number in _MISSING:
        return Rejected("missing", f"{name}: {os.strerror(number)}")
    if number in _UNREADABLE:
        return Rejected("unreadable", f"{name}: {os.strerror(number)}")
    return error
