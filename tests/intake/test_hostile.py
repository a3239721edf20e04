"""Files made to do harm, through the one door: refused in little memory, and nothing outside them is read."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Callable

import h5py
import numpy as np
import pytest
from format_files import known_counts, measured
from scipy.io import savemat

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.reading import read_ecg
from tests.intake.writers import dicom, edf, ishne, muse, scp

LARGE = 1 << 27


def secret(folder: Path) -> Path:
    """A good recording outside the folder of the file."""
    path = folder.parent / "secret.dat"
    path.write_bytes(known_counts().T.astype("<i2").tobytes())
    return path


def described(folder: Path) -> None:
    (folder / "a.json").write_text(json.dumps({"sample_rate": 500, "unit": "mV", "leads": LEADS}))


def zip_bomb(folder: Path) -> Path:
    described(folder)
    with zipfile.ZipFile(folder / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': (12, {(1 << 30) // 96}), }}".ljust(117) + "\n"
        member.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode())
        for _ in range(64):
            member.write(bytes(LARGE // 64))
    return folder / "a.npz"


def zlib_bomb(folder: Path) -> Path:
    described(folder)
    savemat(folder / "a.mat", {"val": np.zeros((12, 600))}, do_compression=False)
    head = (folder / "a.mat").read_bytes()[:128]
    packed = zlib.compressobj(9)
    data = b"".join(packed.compress(bytes(LARGE // 64)) for _ in range(64)) + packed.flush()
    (folder / "a.mat").write_bytes(head + struct.pack("<II", 15, len(data)) + data)
    return folder / "a.mat"


def header_elsewhere(folder: Path) -> Path:
    name = secret(folder).name
    lines = [f"../{name} 16 400(0)/mV 16 0 0 0 0 {lead}" for lead in LEADS]
    (folder / "a.hea").write_text("\n".join(["a 12 500 600", *lines]) + "\n")
    return folder / "a.hea"


def link_elsewhere(folder: Path) -> Path:
    described(folder)
    with h5py.File(folder.parent / "secret.h5", "w") as file:
        file["tracings"] = known_counts() * 0.0025
    with h5py.File(folder / "a.h5", "w") as file:
        file["tracings"] = h5py.ExternalLink("../secret.h5", "tracings")
    return folder / "a.h5"


def endless_description(folder: Path) -> Path:
    np.save(folder / "a.npy", known_counts() * 0.0025)
    with (folder / "a.json").open("wb") as file:
        file.truncate(2 << 30)
    return folder / "a.npy"


def deep_description(folder: Path) -> Path:
    np.save(folder / "a.npy", known_counts() * 0.0025)
    (folder / "a.json").write_text("[" * 100_000)
    return folder / "a.npy"


def laughs(folder: Path) -> Path:
    entities = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    return muse.write(folder / "a.xml", known_counts(8), doctype=f'<!DOCTYPE RestingECG [<!ENTITY l0 "ha">{entities}]>')


def external_entity(folder: Path) -> Path:
    return muse.write(folder / "a.xml", known_counts(8), doctype=f'<!DOCTYPE a [<!ENTITY e SYSTEM "{secret(folder)}">]>')


def lying_edf(folder: Path) -> Path:
    return edf.write(folder / "a.edf", known_counts(), records=99_999_999)


def lying_ishne(folder: Path) -> Path:
    return ishne.write(folder / "a.ecg", known_counts(), samples=2**31 - 1)


def lying_scp(folder: Path) -> Path:
    return scp.write(folder / "a.scp", scp.sections_of(known_counts(), starts=(1,) * 11 + (2**31,)))


def lying_dicom(folder: Path) -> Path:
    pytest.importorskip("pydicom", minversion="3", reason="pydicom 3 is not installed: pip install 'cmelt-plugin[echo]'")
    group = dicom.group(known_counts())
    group.NumberOfWaveformSamples = 2**31
    return dicom.write(folder / "a.dcm", [group])


MADE: tuple[Callable[[Path], Path], ...] = (
    zip_bomb,
    zlib_bomb,
    header_elsewhere,
    link_elsewhere,
    endless_description,
    deep_description,
    laughs,
    external_entity,
    lying_edf,
    lying_ishne,
    lying_scp,
    lying_dicom,
)


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_it_is_refused(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    path = make(folder)
    assert path.stat().st_size < 4 << 20
    with pytest.raises(DataError):
        measured(read_ecg, path)
