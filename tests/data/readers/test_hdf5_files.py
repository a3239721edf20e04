"""HDF5 files that point elsewhere, and such as are made to exhaust whoever reads them."""

import os

import h5py
import numpy as np
import pytest

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers import hdf5_files
from cmelt_plugin.data.readers.arrays import ArrayReader
from cmelt_plugin.data.readers.contract import Crop, Reading, Rejected
from cmelt_plugin.errors import DataError
from preprocess.code_test import examine, read_tracing

READER = ArrayReader(LEADS, rate=500.0)
TRACING = f"#0;{','.join(LEADS)};1"


def external(file, folder):
    file.create_dataset("tracings", (1, 700, 12), "f8", external=[(str(folder / "secret"), 0, h5py.h5f.UNLIMITED)])


def virtual(file, folder):
    layout = h5py.VirtualLayout((1, 700, 12), "f8")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "tracings", (1, 700, 12))
    file.create_virtual_dataset("tracings", layout)


def external_link(file, folder):
    file["tracings"] = h5py.ExternalLink(str(folder / "other.h5"), "tracings")


def soft_link(file, folder):
    file["real"] = np.ones((1, 700, 12))
    file["tracings"] = h5py.SoftLink("/real")


@pytest.mark.parametrize("variable", ["", "tracings"])
@pytest.mark.parametrize("make", [external, virtual, external_link])
def test_nothing_is_read_from_other_files(tmp_path, make, variable):
    (tmp_path / "secret").write_bytes(np.arange(700 * 12.0).tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["tracings"] = np.ones((1, 700, 12))
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        make(file, tmp_path)
    with h5py.File(path) as file:
        assert file["tracings"][0, 5, 5] != 0  # HDF5 itself would
    with pytest.raises(
        Rejected, match="^(unreadable: a.h5: tracings (lies in other files|is a link)|variable: a.h5: holds no arr)"
    ):
        READER(f"{path}\tvariable={variable}" if variable else str(path))
    with pytest.raises(Rejected, match="^unreadable: a.h5: tracings (lies in other files|is a link)"):
        read_tracing(f"{path}{TRACING}")
    with pytest.raises(DataError, match="a.h5: not an HDF5 file.*(lies in other files|is a link)"):
        examine(path)


def test_soft_links_are_not_followed(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        soft_link(file, tmp_path)
    assert READER(str(tmp_path / "a.h5")).signal.shape == (12, 700)  # the array itself, once
    with pytest.raises(Rejected, match="^unreadable: a.h5: tracings is a link"):
        READER(f"{tmp_path / 'a.h5'}\tvariable=tracings")


def test_groups_in_a_circle_and_deep_ones(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["g/x"] = np.ones((12, 700))
        file["g/again"] = file["g"]
        file["g/twice"] = file["g/x"]
    with h5py.File(tmp_path / "a.h5") as file:
        assert hdf5_files.names_in(file) == ["g/twice"]  # in the order of the names
    assert READER(str(tmp_path / "a.h5")).signal.shape == (12, 700)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        group = file
        for _ in range(3000):
            group = group.create_group("g")
        group["x"] = np.ones((12, 700))
    with pytest.raises(Rejected, match="^unreadable: b.h5: .*levels"):
        READER(str(tmp_path / "b.h5"))


def test_chunks_that_would_fill_the_memory(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("x", (12, 40_000_000), "f8", chunks=(12, 40_000_000), compression="gzip")
        assert data.chunks == (12, 40_000_000)
    assert os.path.getsize(tmp_path / "a.h5") < 10_000
    with pytest.raises(Rejected, match="^large: a.h5: x has chunks of 3,840,000,000 bytes"):
        READER(str(tmp_path / "a.h5"), Reading(Crop(10.0)))


def test_only_the_rows_that_are_needed_are_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("x", (3, 12, 100_000_000), "i2", chunks=(1, 12, 5000))
        data[1, :, :5000] = np.arange(5000)
    found = READER(f"{tmp_path / 'a.h5'}\trow=1", Reading(Crop(10.0)))
    assert found.samples == 100_000_000 and np.array_equal(found.signal[3], np.arange(5000))
    with pytest.raises(Rejected, match="^large: a.h5: 1,200,000,000 samples at once"):
        READER(f"{tmp_path / 'a.h5'}\trow=1")
