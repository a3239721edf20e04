"""Reading WFDB records, and saying what is wrong with those that cannot be read.

The ``wfdb`` package reads everything but spends several milliseconds on a header; the plain form in which the large
ECG data sets come (one file of 16-bit samples) is read here, ten times as fast, and everything else left to it.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

import numpy as np
import wfdb

from cmelt_plugin.data.wfdb_record import repair_units
from preprocess.recording import Recording, Rejected

# Trouble of the machine, not of the recording: the run must stop (and resume later) instead of rejecting good records.
_MACHINE_TROUBLE = {errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENOMEM}

_RECORD_LINE = re.compile(r"[^\s/]+ +(?P<signals>\d+) +(?P<rate>\d+(?:\.\d+)?) +(?P<samples>\d+)(?: .*)?$")
_SIGNAL_LINE = re.compile(
    r"(?P<file>[^\s/]+) +16(?:x1)?(?:\+(?P<offset>\d+))? "
    r"+(?P<gain>\d+(?:\.\d+)?)(?:\((?P<baseline>-?\d+)\))?/(?P<unit>\S+) "
    r"+\d+ +(?P<zero>-?\d+) +-?\d+ +-?\d+ +\d+ +(?P<lead>\S.*)$"
)
_INVALID = -32768  # WFDB's sign for "no value" in 16-bit samples


def read_wfdb(path: str) -> Recording:
    """Read a WFDB record; ``path`` is that of the header without ``.hea``.

    Raises:
        Rejected: header or signal file are missing, truncated or not readable.
    """
    try:
        simple = _read_format_16(path)
        if simple is not None:
            return simple
        record = wfdb.rdrecord(path)
        signal, leads, units = record.p_signal.T, record.sig_name, record.units
    except OSError as error:
        if error.errno in _MACHINE_TROUBLE:
            raise
        name = Path(error.filename).name if error.filename else path
        code = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        raise Rejected(code, f"{name}: {error.strerror or error}") from None
    except Rejected:
        raise
    except Exception as error:  # damaged files raise a dozen kinds of exception
        raise _diagnose(path, error) from None
    return Recording(signal, leads, repair_units(path, units), float(record.fs))


def _read_format_16(path: str) -> Recording | None:
    """Read a record whose signals all lie in one file of 16-bit samples; None when this is not so.

    Source: WFDB header format, https://physionet.org/physiotools/wag/header-5.htm
    """
    header = Path(f"{path}.hea")
    data = header.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    record = _RECORD_LINE.match(lines[0]) if lines else None
    if record is None or not 0 < int(record["signals"]) == len(lines) - 1:
        return None
    signals = [_SIGNAL_LINE.match(line) for line in lines[1:]]
    if not all(signals) or len({(match["file"], match["offset"]) for match in signals}) != 1:
        return None
    gain = np.array([float(match["gain"]) for match in signals])
    baseline = np.array([int(match["baseline"] or match["zero"]) for match in signals])
    shape = int(record["samples"]), len(signals)
    if shape[0] == 0 or not gain.all():  # to WFDB these mean "unknown" and "not calibrated"
        return None
    file, offset = header.parent / signals[0]["file"], int(signals[0]["offset"] or 0)
    _check_size(file, offset + 2 * shape[0] * shape[1])
    steps = np.fromfile(file, dtype="<i2", count=shape[0] * shape[1], offset=offset)
    steps = np.ascontiguousarray(steps.reshape(shape).T)
    signal = (steps - baseline[:, None]) / gain[:, None]
    signal[steps == _INVALID] = np.nan
    leads, units = [match["lead"] for match in signals], [match["unit"] for match in signals]
    return Recording(signal, leads, units, float(record["rate"]))


def _diagnose(path: str, error: Exception) -> Rejected:
    """Why a record that exists could not be read: the header, a signal file that is too short, or something else."""
    try:
        header = wfdb.rdheader(path)
        bytes_needed: dict[str, int] = {}
        for name, fmt in zip(header.file_name, header.fmt):
            width = {"16": 2, "61": 2, "24": 3, "32": 4, "80": 1}[fmt]
            bytes_needed[name] = bytes_needed.get(name, 0) + width * header.sig_len
        for name, needed in bytes_needed.items():
            _check_size(Path(path).parent / name, needed)
    except Rejected as reason:
        return reason
    except Exception:
        return Rejected("header", f"{Path(path).name}.hea cannot be read ({type(error).__name__}: {_one_line(error)})")
    return Rejected("unreadable", f"{type(error).__name__}: {_one_line(error)}")


def _check_size(path: Path, needed: int) -> None:
    size = path.stat().st_size
    if size < needed:
        raise Rejected("truncated", f"{path.name} has {size} bytes where the header announces {needed}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
