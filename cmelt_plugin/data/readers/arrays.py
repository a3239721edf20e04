"""Reading recordings from MATLAB, NumPy, HDF5 and text files, most of which say nothing of leads, unit and rate."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.readers.contract import (
    ALL,
    Reading,
    Recording,
    Rejected,
    check_array,
    file_name,
    reader,
    takes_reading,
)
from cmelt_plugin.data.readers.matlab import MatFile, Unsupported, is_hdf5
from cmelt_plugin.data.readers.numpy_files import names_in_npz, open_npy, read_npz
from cmelt_plugin.data.readers.text_files import SEPARATORS, listed, read_text
from cmelt_plugin.data.readers.wfdb_records import read_wfdb
from cmelt_plugin.errors import DataError

HDF5 = (".h5", ".hdf5")
TEXT = tuple(SEPARATORS)
ARRAYS = (".mat", ".npy", ".npz", *HDF5, *TEXT)

# How users name a part of a file: tracings.h5:signals[12], all.npy[3], ecg.mat:val
_PLACE = re.compile(
    r"(?P<file>.+?\.(?:mat|npy|npz|h5|hdf5))(?::(?P<variable>[^\[\]]+))?(?:\[(?P<row>\d{1,18})\])?", re.IGNORECASE
)


class Place(NamedTuple):
    """Where a recording is."""

    file: str
    variable: str = ""
    """Variable of a .mat or .npz file (``ECG.data``: a field of a struct), data set of a HDF5 file; "" = the only one."""
    row: int | None = None
    """First index of an array that holds many recordings."""
    rate: float | None = None
    """Hz; None = that of the reader."""

    @classmethod
    def parse(cls, text: str) -> Place:
        """From the user's form, ``FILE``, ``FILE:VARIABLE``, ``FILE[ROW]`` or ``FILE:VARIABLE[ROW]``."""
        match = _PLACE.fullmatch(text)
        if match is None:
            return cls(text)
        return cls(match["file"], match["variable"] or "", int(match["row"]) if match["row"] else None)

    def encode(self) -> str:
        """As one text that begins with the file, so that it can be joined to a folder: fields follow after tabs."""
        fields = [("variable", self.variable or None), ("row", self.row), ("rate", self.rate)]
        return "\t".join([self.file, *(f"{name}={value}" for name, value in fields if value is not None)])

    @classmethod
    def decode(cls, text: str) -> Place:
        """Inverse of :meth:`encode`."""
        file, *fields = text.split("\t")
        values = dict(field.split("=", 1) for field in fields)
        row, rate = values.get("row"), values.get("rate")
        return cls(file, values.get("variable", ""), None if row is None else int(row), None if rate is None else float(rate))


def is_array(file: str) -> bool:
    """Whether a file is read as an array (True) or as a WFDB record, by its suffix and, for .mat, a header beside it.

    PhysioNet's challenges keep the samples of WFDB records in .mat files, which their headers describe.
    """
    stem, suffix = os.path.splitext(file)
    suffix = suffix.lower()
    return suffix in ARRAYS and not (suffix == ".mat" and os.path.isfile(f"{stem}.hea"))


@takes_reading
@dataclass(frozen=True)
class ArrayReader:
    """Reads the recording at an encoded :class:`Place`; a WFDB record where the file is none of :data:`ARRAYS`.

    Raises, when called:
        Rejected: the file is missing, damaged or not a number array, or its shape does not fit the leads; codes
            ``missing``, ``unreadable``, ``truncated``, ``variable``, ``row``, ``leads``, ``rate``, ``large``.
        OSError, MemoryError: trouble of the machine.
    """

    leads: Sequence[str] = ()
    """Leads in the order of the arrays; () = text files with a heading only. A heading of other leads is refused."""
    unit: str = "mV"
    gain: float = 1.0
    """Numbers per unit."""
    rate: float | None = None
    """Hz, for recordings whose place does not say."""
    variable: str = ""
    """For recordings whose place does not say."""

    def __call__(self, path: str, reading: Reading = ALL) -> Recording:
        file = path.split("\t", 1)[0]
        if not is_array(file):
            return read_wfdb(re.sub(r"\.(hea|dat|mat)$", "", file, flags=re.IGNORECASE), reading)
        return self._read(file, path, reading)

    @reader
    def _read(self, file: str, path: str, reading: Reading) -> Recording:
        location = Place.decode(path)
        rate = location.rate or self.rate
        if rate is None or not 0 < rate < float("inf"):
            raise Rejected("rate", "not known" if rate is None else f"{rate:g} Hz")
        variable = location.variable or self.variable
        names, signal, samples, notes = _read(file, variable, location.row, tuple(self.leads), reading, rate)
        if self.gain != 1.0:
            signal = signal / self.gain
        return Recording(signal, names, [self.unit] * len(names), float(rate), reading.total(samples), notes)


Found = tuple  # names, float64 [leads, samples], samples of the whole recording, notes


def _read(path: str, variable: str, row: int | None, leads: tuple[str, ...], reading: Reading, rate: float) -> Found:
    """Lead names, float64 [leads, samples] of the part that is wanted, samples of the whole recording, and notes."""
    suffix = os.path.splitext(path)[1].lower()
    name = file_name(path)

    def part(
        array: Any, row: int | None, last: bool = False, names: tuple[str, ...] = leads, left: Sequence[str] = ()
    ) -> Found:
        notes = (f"Columns left out: {listed(left)}.",) if left else ()
        return (names, *_part(array, row, last, names, reading, rate, name), notes)

    if suffix in TEXT:
        table = read_text(path, leads)
        return part(table.values, None, names=table.leads, left=table.left)
    if suffix == ".npy":
        return part(open_npy(path), row)
    if suffix == ".npz":
        return part(read_npz(path, _only(names_in_npz(path), variable, name), row), None)
    if suffix == ".mat" and not is_hdf5(path):
        with MatFile(path) as file:
            return part(_variable(file, variable, name), row)
    hdf5 = _hdf5_files()
    with hdf5.open_hdf5(path) as file:
        variable = (variable.replace(".", "/") if suffix == ".mat" else variable).strip("/")
        array = hdf5.dataset_of(file, variable) if variable else None
        if array is None:
            array = hdf5.dataset_of(file, _only(hdf5.names_in(file), variable, name))
        # MATLAB's axes are seen in reverse order.
        return part(array, row, last=suffix == ".mat")


def _hdf5_files() -> Any:
    """What reads HDF5, imported late: not everyone who serves a model has h5py."""
    try:
        return importlib.import_module("cmelt_plugin.data.readers.hdf5_files")
    except ImportError:
        raise DataError("HDF5 files need h5py: pip install h5py") from None


def _variable(file: MatFile, variable: str, name: str) -> np.ndarray:
    arrays = file.arrays()
    variable = variable or _only(arrays, "", name)
    first, *fields = variable.split(".")
    value: Any = file.read(first) if first in file.variables else None
    for field in fields:
        value = value.get(field) if isinstance(value, dict) else None
    if value is None:
        raise Rejected("variable", f"{name}: no variable {variable}; it has {_listed(arrays)}")
    if not isinstance(value, np.ndarray):
        words: dict[type, str] = {str: "text", dict: "a struct"}
        kind = value.kind if isinstance(value, Unsupported) else words[type(value)]
        raise Rejected("unreadable", f"{name}: {variable} holds {kind}, not numbers")
    return value


def _part(
    array: Any, row: int | None, last: bool, leads: tuple[str, ...], reading: Reading, rate: float, name: str
) -> tuple[np.ndarray, int]:
    """float64 [leads, samples] of what is wanted, and the samples of all; nothing else is read.

    Args:
        array: anything with ``shape`` and ``dtype`` that can be indexed, with leads and samples in either order; an axis of
            length 1 may be missing or too many.
        row: which recording of the first axis (``last``: of the last one); None = there is but one.
    """
    shape, n = array.shape, len(leads)
    if shape is None or array.dtype.kind not in "iuf":
        raise Rejected("unreadable", f"{name}: holds {array.dtype}, not numbers")
    index: list[Any] = [0] * len(shape)
    axes = list(range(len(shape)))
    if row is not None:
        across = axes.pop(-1 if last else 0) if axes else 0
        if not axes or row >= shape[across]:
            raise Rejected("row", f"{name}: no row {row} in an array of shape {tuple(shape)}")
        index[across] = row
    if not n:
        raise Rejected("leads", f"{name}: does not name its leads; give them with --leads")
    if len(axes) != 2:
        axes = [axis for axis in axes if shape[axis] != 1]
    sizes = [shape[axis] for axis in axes]
    if (len(sizes) != 2 or n not in sizes) and not (len(sizes) == 1 and n == 1):
        raise Rejected("leads", f"{name}: an array of shape {tuple(shape)} for {n} leads")
    if sizes == [n, n]:
        raise Rejected("leads", f"{name}: {n} leads and {n} samples, in unknown order")
    along = axes[-1] if sizes[0] == n and len(sizes) == 2 else axes[0]  # samples
    samples = shape[along]
    start, stop = reading.span(samples, rate)
    check_array(name, n * (stop - start))
    for axis in axes:
        index[axis] = slice(start, stop) if axis == along else slice(None)
    values = np.array(array[tuple(index)], dtype=np.float64)
    if values.ndim == 1:
        values = values[None]
    elif along == axes[0]:
        values = values.T
    return np.ascontiguousarray(values), samples


def _only(names: Sequence[str], variable: str, name: str) -> str:
    """The variable asked for, or the only one there is."""
    if variable and variable not in names:
        raise Rejected("variable", f"{name}: no variable {variable}; it has {_listed(names)}")
    if not variable and len(names) != 1:
        raise Rejected("variable", f"{name}: holds {_listed(names)}; name one with --variable")
    return variable or names[0]


def _listed(names: Sequence[str]) -> str:
    return listed(names) or "no array"
