"""Arrays through the one door: what no recorder can have written, and damage to them and to the JSON files beside them."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from format_files import attack, measured
from scipy.io import savemat
from text_damage import damaged_text

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.reading import read_ecg
from tests.data.readers.test_fuzzing import damaged, ecg, write_hdf5, write_mat73, write_npz, write_struct, write_text

DESCRIPTION = {"sample_rate": 500, "unit": "mV", "leads": list(LEADS), "sex": "F", "age": 61, "start": "2020-03-01T07:30:00"}


def described(path: Path, **changes: object) -> Path:
    """The JSON file beside an array."""
    beside = path.with_suffix(".json")
    beside.write_text(json.dumps({**DESCRIPTION, **changes}, indent=1))
    return beside


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sample_rate": 0.01}, "a sample rate of 0.01 Hz"),
        ({"sample_rate": 1e5}, r"a sample rate of 100000 Hz"),
        ({"unit": "V"}, "samples beyond 10 V"),
    ],
)
def test_what_no_recorder_has_written_is_refused(tmp_path: Path, change: dict, reason: str) -> None:
    np.save(tmp_path / "a.npy", ecg() * 100)
    described(tmp_path / "a.npy", **change)
    with pytest.raises(DataError, match=reason):
        measured(read_ecg, tmp_path / "a.npy")


def within_zlib(data: bytes, random: np.random.Generator) -> bytes:
    """A MATLAB file of one compressed variable, mostly damaged within the compression."""
    if random.random() < 0.3:
        return damaged(data, random)
    packed = zlib.compress(damaged(zlib.decompress(data[136:]), random))
    return data[:128] + struct.pack("<2I", 15, len(packed)) + packed


def within_zip(data: bytes, random: np.random.Generator) -> bytes:
    """A NumPy archive, mostly with a damaged member under a checksum that is right."""
    if random.random() < 0.3:
        return damaged(data, random)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info: archive.read(info) for info in archive.infolist()}
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for info, content in members.items():
            archive.writestr(info, damaged(content, random) if info.filename == "val.npy" else content)
    return written.getvalue()


def save_chunks(folder: Path) -> None:
    write_hdf5(folder, "a.h5", chunks=(1, 100, 12), compression="gzip", shuffle=True)


def save_checked(folder: Path) -> None:
    """In the newest layout, whose metadata and chunks have checksums."""
    with h5py.File(folder / "a.hdf5", "w", libver="latest") as file:
        file.create_dataset("tracings", data=ecg().T[None], chunks=(1, 100, 12), fletcher32=True)


def write_table(folder: Path, suffix: str, separator: str) -> None:
    """100 samples, at 100 Hz, under headings: no other file takes as long for a sample."""
    write_text(folder, suffix, separator)
    path = folder / f"a{suffix}"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:101]))


KINDS = {
    "MATLAB 4": ("a.mat", lambda f: savemat(f / "a.mat", {"val": ecg()}, format="4"), damaged),
    "MATLAB 5": ("a.mat", lambda f: savemat(f / "a.mat", {"val": ecg(), "fs": 500}), damaged),
    "MATLAB 5, packed": ("a.mat", lambda f: savemat(f / "a.mat", {"val": ecg()}, do_compression=True), within_zlib),
    "MATLAB 7.3": ("a.mat", write_mat73, damaged),
    "CPSC2018's structs": ("a.mat", write_struct, damaged),
    "CPSC2018's structs, packed": ("a.mat", lambda f: write_struct(f, do_compression=True), within_zlib),
    "HDF5": ("a.h5", lambda f: write_hdf5(f, "a.h5"), damaged),
    "HDF5, chunks": ("a.h5", save_chunks, damaged),
    "HDF5, checksums": ("a.hdf5", save_checked, damaged),
    "npy": ("a.npy", lambda f: np.save(f / "a.npy", ecg()), damaged),
    "npz": ("a.npz", lambda f: write_npz(f, np.savez), within_zip),
    "npz, packed": ("a.npz", lambda f: write_npz(f, np.savez_compressed), within_zip),
    "csv": ("a.csv", lambda f: write_table(f, ".csv", ","), damaged_text),
    "tsv": ("a.tsv", lambda f: write_table(f, ".tsv", "\t"), damaged_text),
    "txt": ("a.txt", lambda f: write_table(f, ".txt", " "), damaged_text),
}
"""Name of the file, how it is written, how it is damaged."""


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(battery, tmp_path: Path, kind: str) -> None:
    name, write, damage = KINDS[kind]
    write(tmp_path)
    path = tmp_path / name
    variable = {".npz": {"variable": "val"}, ".h5": {"variable": "tracings"}}.get(path.suffix, {})
    rate = {"sample_rate": 100} if damage is damaged_text else {}
    beside = {} if kind.startswith("CPSC") else {described(path, **rate, **variable): damaged_text}
    assert read_ecg(str(path)).signal.shape == (12, 100 if damage is damaged_text else 600)
    attack(battery(f"damaged {kind}", inputs=60, long=10_000), read_ecg, path, damage, beside)
