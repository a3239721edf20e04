"""Recordings in MATLAB, NumPy, HDF5 and text files."""

import pickle
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.arrays import ArrayReader, Place, is_array
from cmelt_plugin.data.readers.contract import Rejected
from tests.preprocess.mimic_layout import make_ecg, write_record

ECG = make_ecg(1)
READER = ArrayReader(leads=LEADS, unit="mV", rate=500.0)
names = st.text("abc/_.:h5 ", min_size=1, max_size=8).map(str.strip).filter(bool)


def save(path, array, variable="val"):
    """Write an array in the form the suffix says; ``.73.mat`` is MATLAB 7.3."""
    if path.name.endswith(".73.mat"):
        with h5py.File(path, "w", userblock_size=512) as file:
            file[variable] = np.transpose(array)  # MATLAB stores the last axis first
        with open(path, "r+b") as handle:
            handle.write(b"MATLAB 7.3 MAT-file, HDF5 schema 1.00 .".ljust(116) + bytes(8) + b"\x00\x02IM")
    elif path.suffix == ".mat":
        savemat(path, {variable: array})
    elif path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, **{variable: array})
    elif path.suffix in (".h5", ".hdf5"):
        with h5py.File(path, "w") as file:
            file[variable] = array
    else:
        separator = {".csv": ",", ".tsv": "\t", ".txt": " "}[path.suffix]
        np.savetxt(path, array, delimiter=separator)
    return path


def read(path, reader=READER, **place):
    return reader(Place(str(path), **place).encode())


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.mat", "a.73.mat", "a.h5", "a.HDF5", "a.csv", "a.tsv", "a.txt"])
@pytest.mark.parametrize("transposed", [False, True])
def test_every_format_in_both_orders(tmp_path, name, transposed):
    path = save(tmp_path / name.lower(), ECG.T if transposed else ECG)
    path = path.rename(tmp_path / name)
    recording = read(path)
    assert recording.signal.dtype == np.float64 and np.allclose(recording.signal, ECG, atol=1e-12)
    assert tuple(recording.leads) == LEADS and set(recording.units) == {"mV"} and recording.rate == 500.0


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.mat", "a.73.mat", "a.h5"])
def test_a_row_of_many_recordings(tmp_path, name):
    many = np.stack([make_ecg(seed) for seed in range(3)])
    path = save(tmp_path / name, many)
    assert np.array_equal(read(path, row=2).signal, many[2])
    with pytest.raises(Rejected, match=rf"^row: {name}: no row 3 in an array of shape"):
        read(path, row=3)
    with pytest.raises(Rejected, match=r"^leads: .*an array of shape \(.*\) for 12 leads"):
        read(path)


@pytest.mark.parametrize("name", ["a.npz", "a.mat", "a.73.mat", "a.h5"])
def test_variables_are_chosen_by_name(tmp_path, name):
    path = tmp_path / name
    if name.endswith("h5"):
        with h5py.File(path, "w") as file:
            file["deep/tracings"], file["other"] = ECG, ECG + 1
        wanted, listed = "deep/tracings", "deep/tracings, other"
    elif name == "a.73.mat":
        save(path, ECG, "tracings")
        with h5py.File(path, "r+") as file:
            file["other"] = ECG + 1
        wanted, listed = "tracings", "other, tracings"
    else:
        (savemat if name.endswith("mat") else lambda p, d: np.savez(p, **d))(path, {"tracings": ECG, "other": ECG + 1})
        wanted, listed = "tracings", "tracings, other"
    assert np.array_equal(read(path, variable=wanted).signal, ECG)
    assert np.array_equal(read(path, ArrayReader(LEADS, rate=1.0, variable=wanted)).signal, ECG)
    with pytest.raises(Rejected, match=rf"^variable: {name}: no variable nope; it has {listed}"):
        read(path, variable="nope")
    with pytest.raises(Rejected, match=rf"^variable: {name}: holds {listed}; name one with --variable"):
        read(path)


def test_fields_of_a_matlab_struct(tmp_path):
    savemat(tmp_path / "a.mat", {"ECG": {"data": ECG, "sex": "Male", "age": 61}})
    assert np.array_equal(read(tmp_path / "a.mat", variable="ECG.data").signal, ECG)
    for wrong in ("ECG.signal", "ECG.data.x"):
        with pytest.raises(Rejected, match=f"^variable: a.mat: no variable {wrong}"):
            read(tmp_path / "a.mat", variable=wrong)


def test_unit_gain_and_rate(tmp_path):
    save(tmp_path / "a.npy", np.rint(ECG * 1000).astype(np.int16))
    recording = read(tmp_path / "a.npy", ArrayReader(LEADS, unit="uV", gain=4.0, rate=400.0))
    assert recording.units == ["uV"] * 12 and recording.rate == 400.0
    assert np.array_equal(recording.signal, np.rint(ECG * 1000) / 4)
    assert read(tmp_path / "a.npy", ArrayReader(LEADS, rate=400.0), rate=250.0).rate == 250.0
    with pytest.raises(Rejected, match="^rate: not known"):
        read(tmp_path / "a.npy", ArrayReader(LEADS))


@pytest.mark.parametrize("shape", [(700,), (1, 700), (700, 1), (1, 1, 700)])
def test_one_lead(tmp_path, shape):
    save(tmp_path / "a.npy", ECG[0, :700].reshape(shape))
    assert np.array_equal(read(tmp_path / "a.npy", ArrayReader(("I",), rate=500.0)).signal, ECG[:1, :700])


@pytest.mark.parametrize(
    "array, reason",
    [
        (ECG[:11], r"leads: a.npy: an array of shape \(11, 5000\) for 12 leads"),
        (ECG[:, :12], "leads: a.npy: 12 leads and 12 samples, in unknown order"),
        (np.zeros((2, 12, 700)), r"leads: a.npy: an array of shape \(2, 12, 700\) for 12 leads"),
        (np.float64(1.0), r"leads: a.npy: an array of shape \(\) for 12 leads"),
        (np.array([["a"]]), "unreadable: a.npy: holds <U1, not numbers"),
        (ECG * 1j, "unreadable: a.npy: holds complex128, not numbers"),
    ],
)
def test_arrays_that_are_no_recording(tmp_path, array, reason):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(Rejected, match=f"^{reason}"):
        read(tmp_path / "a.npy")


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", val=np.array([{"x": 1}], dtype=object))
    (tmp_path / "b.npy").write_bytes(pickle.dumps([1, 2]))
    for name in ("a.npy", "a.npz", "b.npy"):
        with pytest.raises(Rejected, match="^unreadable: "):
            read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.mat", "a.73.mat", "a.h5"])
@pytest.mark.parametrize("size", [0, 40, 4000])
def test_damaged_files(tmp_path, name, size):
    path = save(tmp_path / name, ECG)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(Rejected, match=f"^unreadable: {name}: "):
        read(path)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_numpy_files_that_are_longer_than_they_say(tmp_path, name):
    path = save(tmp_path / "a.npy", ECG)
    data = path.read_bytes() + bytes(8)
    path.write_bytes(data)
    if name == "a.npz":
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("val.npy", data)
    with pytest.raises(Rejected, match=f"^unreadable: {name}: .* bytes where the header announces"):
        read(tmp_path / name)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(Rejected, match="^missing: a.npy: No such file"):
        read(tmp_path / "a.npy")
    (tmp_path / "b.h5").mkdir()
    with pytest.raises(Rejected, match="^unreadable: b.h5: is a folder, not a file"):
        read(tmp_path / "b.h5")


def test_a_header_of_text_names_the_leads(tmp_path):
    lines = ["time,V1,note,i", *(f"{t},{t + 0.5},0,{-t}" for t in range(300))]
    (tmp_path / "a.csv").write_text("\n".join(lines), encoding="utf-8")
    recording = read(tmp_path / "a.csv", ArrayReader(unit="mV", rate=100.0))
    assert recording.leads == ("V1", "I") and recording.notes == ("Columns left out: time, note.",)
    assert np.array_equal(recording.signal, [np.arange(300) + 0.5, -np.arange(300)])


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("leads", [(), ("I", "V3R", "V4R")])
def test_a_heading_names_every_lead_that_is_known(tmp_path, suffix, leads):
    separator = {".csv": ",", ".tsv": "\t"}[suffix]
    lines = [("time", "Lead I", "v3r", "V4R"), *(("0", "1", "2", "3"),) * 200]
    (tmp_path / f"a{suffix}").write_text("\n".join(map(separator.join, lines)))
    recording = read(tmp_path / f"a{suffix}", ArrayReader(leads, rate=100.0))
    assert [lead.upper() for lead in recording.leads] == ["I", "V3R", "V4R"]
    assert recording.signal[:, 0].tolist() == [1, 2, 3] and recording.notes == ("Columns left out: time.",)


def test_leads_of_other_names_are_known_by_the_description(tmp_path):
    (tmp_path / "a.csv").write_text("t,X,chest 1,I\n" + "0,1,2,3\n" * 200)
    recording = read(tmp_path / "a.csv", ArrayReader(("X", "chest 1", "I"), rate=100.0))
    assert recording.leads == ("X", "chest 1", "I") and recording.signal[:, 0].tolist() == [1, 2, 3]
    alone = read(tmp_path / "a.csv", ArrayReader(rate=100.0))  # X may be an axis
    assert alone.leads == ("I",) and alone.notes == ("Columns left out: t, X, chest 1.",)


@pytest.mark.parametrize("heading", ["II,I", "Lead II,Lead I", "V3R,V4R", "time,I"])
def test_a_heading_that_contradicts_the_leads_given_is_refused(tmp_path, heading):
    (tmp_path / "a.csv").write_text(f"{heading}\n" + ",".join("1" * (heading.count(",") + 1)) + "\n")
    with pytest.raises(Rejected, match="^leads: a.csv: its heading names .* but its description I, II"):
        read(tmp_path / "a.csv", ArrayReader(("I", "II"), rate=100.0))


def test_given_leads_are_found_among_others(tmp_path):
    (tmp_path / "a.csv").write_text("time,I,II,V1\n" + "0,1,2,3\n" * 200)
    recording = read(tmp_path / "a.csv", ArrayReader(("I", "II"), rate=100.0))
    assert recording.leads == ("I", "II") and recording.notes == ("Columns left out: time, V1.",)


def test_text_without_lead_names(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n" + "1,2\n" * 200, encoding="utf-8")
    (tmp_path / "b.csv").write_text("1,2\n" * 199 + "1,\n", encoding="utf-8")
    two = ArrayReader(("I", "II"), rate=100.0)
    assert read(tmp_path / "a.csv", two).signal.shape == (2, 200)
    assert np.isnan(read(tmp_path / "b.csv", two).signal).sum() == 1
    with pytest.raises(Rejected, match="^leads: a.csv: does not name its leads; give them with --leads"):
        read(tmp_path / "a.csv", ArrayReader(rate=100.0))
    for damage in ("abc", "1_0", "\u0663"):  # Python takes the latter two for 10 and 3
        (tmp_path / "c.csv").write_text("1,2\n" * 199 + f"1,{damage}\n", encoding="utf-8")
        with pytest.raises(Rejected, match=f"^unreadable: c.csv: ValueError: line 200: '{damage}' where a number should be"):
            read(tmp_path / "c.csv", two)


def test_text_that_is_no_table_is_refused_by_its_line(tmp_path):
    (tmp_path / "a.txt").write_text("\n\nsignal: 5000 X 2\n" + "1 2\n" * 200, encoding="utf-8")
    two = ArrayReader(("I", "II"), rate=100.0)
    with pytest.raises(Rejected, match="line 3: 'signal:' where a number should be, below one line of headings at most"):
        read(tmp_path / "a.txt", two)
    (tmp_path / "a.csv").write_text('1,2\n"1\n",2\n1,2,3\n', encoding="utf-8")
    with pytest.raises(Rejected, match="line 4: 3 cells where the first line has 2"):
        read(tmp_path / "a.csv", two)


@pytest.mark.parametrize("suffix", ["", ".hea", ".dat"])
def test_other_files_are_wfdb_records(tmp_path, suffix):
    write_record(tmp_path / "a", ECG, leads=LEADS)
    recording = read(tmp_path / f"a{suffix}", ArrayReader())
    assert np.allclose(recording.signal, ECG, atol=0.0006) and tuple(recording.leads) == LEADS


def test_matlab_files_with_a_header_are_wfdb_records(real_data):
    path = real_data / "cinc2021" / "JS20000.mat"
    if not path.is_file():
        pytest.skip(f"no {path}")
    assert not is_array(str(path))
    assert read(path, ArrayReader()).signal.shape == (12, 5000)


def test_real_structs(real_data):
    path = real_data / "cpsc2018" / "A1980.mat"
    if not path.is_file():
        pytest.skip(f"no {path}")
    recording = read(path, variable="ECG.data")
    assert recording.signal.shape[0] == 12 and 0.3 < np.abs(recording.signal).max() < 20


@given(file=names, variable=names, row=st.integers(0, 10**9), rate=st.floats(1, 1e5))
@settings(max_examples=60)
def test_places_survive_being_written(file, variable, row, rate):
    for place in (Place(file), Place(file, variable), Place(file, "", row), Place(file, variable, row, rate)):
        assert Place.decode(place.encode()) == place


@pytest.mark.parametrize(
    "text, place",
    [
        ("a/b.h5:deep/tracings[12]", Place("a/b.h5", "deep/tracings", 12)),
        ("b.HDF5:x", Place("b.HDF5", "x")),
        ("all.npy[0]", Place("all.npy", "", 0)),
        ("a.b.mat:ECG.data", Place("a.b.mat", "ECG.data")),
        ("records/00001_hr", Place("records/00001_hr")),
        ("a.csv", Place("a.csv")),
        ("odd[3].dat", Place("odd[3].dat")),
    ],
)
def test_how_users_name_places(text, place):
    assert Place.parse(text) == place


def test_the_reader_is_named_by_its_settings_and_can_be_sent_to_processes():
    reader = ArrayReader(LEADS, "uV", 2.0, 400.0, "x")
    assert pickle.loads(pickle.dumps(reader)) == reader
    assert repr(reader) == repr(ArrayReader(LEADS, "uV", 2.0, 400.0, "x")) != repr(ArrayReader(LEADS, "mV", 2.0, 400.0, "x"))
