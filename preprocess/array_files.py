"""Reading recordings from MATLAB, NumPy, HDF5 and text files, most of which say nothing of leads, unit and rate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from scipy.io import loadmat

from cmelt_plugin.data.leads import LEADS
from preprocess.recording import Recording, Rejected
from preprocess.wfdb_files import read_wfdb

HDF5 = (".h5", ".hdf5")
TEXT = (".csv", ".tsv", ".txt")
ARRAYS = (".mat", ".npy", ".npz", *HDF5, *TEXT)

# How users name a part of a file: tracings.h5:signals[12], all.npy[3], ecg.mat:val
_PLACE = re.compile(r"(?P<file>.+?\.(?:mat|npy|npz|h5|hdf5))(?::(?P<variable>[^\[\]]+))?(?:\[(?P<row>\d+)\])?", re.IGNORECASE)


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
        found = dict(field.split("=", 1) for field in fields)
        row, rate = found.get("row"), found.get("rate")
        return cls(file, found.get("variable", ""), None if row is None else int(row), None if rate is None else float(rate))


def is_array(file: str) -> bool:
    """Whether a file is read as an array (True) or as a WFDB record, by its suffix and, for .mat, a header beside it.

    PhysioNet's challenges keep the samples of WFDB records in .mat files, which their headers describe.
    """
    path = Path(file)
    suffix = path.suffix.lower()
    return suffix in ARRAYS and not (suffix == ".mat" and path.with_suffix(".hea").is_file())


@dataclass(frozen=True)
class ArrayReader:
    """Reads the recording at an encoded :class:`Place`; a WFDB record where the file is none of :data:`ARRAYS`.

    Raises, when called:
        Rejected: the file is missing, damaged or not a number array, or its shape does not fit the leads.
    """

    leads: Sequence[str] = ()
    """Leads in the order of the arrays; () = text files with a header only."""
    unit: str = "mV"
    gain: float = 1.0
    """Numbers per unit."""
    rate: float | None = None
    """Hz, for recordings whose place does not say."""
    variable: str = ""
    """For recordings whose place does not say."""

    def __call__(self, path: str) -> Recording:
        place = Place.decode(path)
        if not is_array(place.file):
            return read_wfdb(re.sub(r"\.(hea|dat|mat)$", "", place.file, flags=re.IGNORECASE))
        rate = place.rate or self.rate
        if rate is None:
            raise Rejected("rate", "not known")
        names, values = _read(Path(place.file), place.variable or self.variable, place.row)
        leads = names or tuple(self.leads)
        signal = _leads_first(values, leads, Path(place.file).name)
        return Recording(signal / self.gain, leads, [self.unit] * len(leads), float(rate))


def _read(path: Path, variable: str, row: int | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Lead names, where the file has any, and float64 values."""
    try:
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        raise Rejected("missing", f"{path.name}: No such file or directory") from None
    except (IsADirectoryError, PermissionError) as error:
        raise Rejected("unreadable", f"{path.name}: {error.strerror}") from None
    suffix = path.suffix.lower()
    try:
        if suffix in TEXT:
            return _read_text(path)
        if suffix == ".npy":
            return (), _take(np.load(path, mmap_mode="r", allow_pickle=False), row, path)
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return (), _take(arrays[_only(arrays.files, variable, path)], row, path)
        if suffix == ".mat":
            return (), _read_mat(path, variable, row)
        return (), _read_hdf5(path, variable, row)
    except Rejected:
        raise
    except OSError as error:
        if error.errno is not None:  # trouble of the machine, not of the recording
            raise
        raise Rejected("unreadable", f"{path.name}: {_one_line(error)}") from None
    except Exception as error:  # damaged files raise a dozen kinds of exception
        raise Rejected("unreadable", f"{path.name}: {type(error).__name__}: {_one_line(error)}") from None


def _read_text(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Columns of numbers, comma-separated in .csv, tab-separated in .tsv, separated by blanks in .txt.

    Where a header names leads, the columns of these are taken, so that a column of times does no harm.
    """
    separator = {".csv": ",", ".tsv": "\t", ".txt": r"\s+"}[path.suffix.lower()]
    table = pd.read_csv(path, sep=separator, header=None, dtype=str, keep_default_na=False, skip_blank_lines=True)
    first = [cell.strip() for cell in table.iloc[0]]
    names: tuple[str, ...] = ()
    if not any(_is_number(cell) for cell in first):
        known = {lead.lower() for lead in LEADS}
        chosen = [number for number, cell in enumerate(first) if cell.lower() in known]
        names = tuple(first[number] for number in chosen)
        table = table.iloc[1:, chosen or slice(None)]
    cells = table.to_numpy(dtype=object)
    return names, np.array([[float(cell) if cell.strip() else np.nan for cell in row] for row in cells], dtype=np.float64)


def _read_mat(path: Path, variable: str, row: int | None) -> np.ndarray:
    try:
        found: Any = loadmat(path, simplify_cells=True)
    except NotImplementedError:  # MATLAB 7.3 files are HDF5 files
        return _read_hdf5(path, variable.replace(".", "/"), row, reverse=True)
    arrays = [name for name, value in found.items() if isinstance(value, np.ndarray) and value.dtype.kind in "iuf"]
    variable = variable or _only(arrays, "", path)
    for name in variable.split("."):
        if not isinstance(found, dict) or name not in found:
            raise Rejected("variable", f"{path.name}: no variable {variable}; it has {', '.join(arrays) or 'no array'}")
        found = found[name]
    return _take(np.asarray(found), row, path)


def _read_hdf5(path: Path, variable: str, row: int | None, reverse: bool = False) -> np.ndarray:
    """``reverse``: the axes are MATLAB's, which h5py sees in reverse order."""
    with h5py.File(path, "r") as file:
        arrays: list[str] = []

        def visit(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and not name.startswith("#"):  # "#refs#" of MATLAB
                arrays.append(name)

        file.visititems(visit)
        return _take(file[_only(arrays, variable.strip("/"), path)], row, path, last=reverse)


def _take(array: Any, row: int | None, path: Path, last: bool = False) -> np.ndarray:
    """All of an array, or what its first (``last``: its last) index picks, as float64."""
    if array.dtype.kind not in "iuf":
        raise Rejected("unreadable", f"{path.name}: holds {array.dtype}, not numbers")
    if row is None:
        return np.asarray(array[...], dtype=np.float64)
    if array.ndim < 2 or row >= array.shape[-1 if last else 0]:
        raise Rejected("row", f"{path.name}: no row {row} in an array of shape {tuple(array.shape)}")
    return np.asarray(array[..., row] if last else array[row], dtype=np.float64)


def _leads_first(values: np.ndarray, leads: Sequence[str], file: str) -> np.ndarray:
    """``[leads, samples]`` from an array in either order; an axis of length 1 may be missing or too many."""
    n = len(leads)
    if not n:
        raise Rejected("leads", f"{file}: does not name its leads; give them with --leads")
    shape = values.shape
    if values.ndim != 2:
        values = values.squeeze()
    if values.ndim == 1 and n == 1:
        return values[None]
    if values.ndim != 2 or n not in values.shape:
        raise Rejected("leads", f"{file}: an array of shape {shape} for {n} leads")
    if values.shape == (n, n):
        raise Rejected("leads", f"{file}: {n} leads and {n} samples, in unknown order")
    return values if len(values) == n else values.T


def _only(names: Sequence[str], variable: str, path: Path) -> str:
    """The variable asked for, or the only one there is."""
    if variable and variable not in names:
        raise Rejected("variable", f"{path.name}: no variable {variable}; it has {', '.join(names) or 'no array'}")
    if not variable and len(names) != 1:
        raise Rejected("variable", f"{path.name}: holds {', '.join(names) or 'no array'}; name one with --variable")
    return variable or names[0]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
