"""The command for the PhysioNet/CinC Challenge 2021, on its synthetic twin and on real recordings."""

import csv
import re
from collections import Counter

import numpy as np
import pytest
import wfdb

from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.files import read_json
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers import wfdb_records
from cmelt_plugin.data.readers.contract import Rejected
from cmelt_plugin.data.resampling import resample
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from preprocess import physionet2021
from preprocess.data_sets.physionet2021_labels import COLUMN, NAMES
from preprocess.data_sets.physionet2021_records import Header, find_records, read_header, read_segment, segments_of, source_of
from preprocess.synthetic_ecg.layouts import physionet2021_layout
from preprocess.synthetic_ecg.layouts.challenge_records import write_wfdb_mat
from preprocess.synthetic_ecg.layouts.physionet2021_layout import write_physionet2021_layout

RECORDS = 75


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    root = tmp_path_factory.mktemp("cinc2021")
    return root, write_physionet2021_layout(root, RECORDS, 5)


def run(task, root, dest, *more):
    return physionet2021.main(["--task", task, "--root", str(root), "--dest", str(dest), "--jobs", "1", *more])


def metas(dest, columns=("record_id", "subject_id")):
    found = {}
    for split in available_splits(dest):
        table = Manifest.open(dest, split).meta(list(columns))
        found[split] = list(zip(*(table[name].to_pylist() for name in columns)))
    return found


def labels_by_record(dest):
    found = {}
    for split, rows in metas(dest).items():
        values, names = Manifest.open(dest, split).labels()
        assert tuple(names) == NAMES
        found.update((record, row) for (record, _), row in zip(rows, values))
    return found


def read_row(dest, record_id):
    for split, rows in metas(dest).items():
        ids = [record for record, _ in rows]
        if record_id in ids:
            manifest = Manifest.open(dest, split)
            place = [ids.index(record_id)]
            ecg = RecordStore(manifest.store_root).read(manifest.shard[place], manifest.row[place])[0]
            return ecg, int(manifest.n_samples[place[0]])
    raise KeyError(record_id)


def expected_segments(root, name, seconds):
    """Record ids of a recording by the protocol, from wfdb's reading of its header."""
    header = wfdb.rdheader(str(next(root.rglob(f"{name}.hea")))[:-4])
    return [f"{name}#{k}" for k in range(max(1, int(header.sig_len / header.fs / seconds + 1e-9)))]


def header(samples, rate=500.0, name="A0001"):
    return Header(name, f"g1/{name}", "cpsc_2018", rate, samples, "", float("nan"), ())


@pytest.mark.parametrize(
    "path, source",
    [
        ("cpsc_2018/g1/A0001", "cpsc_2018"),
        ("training/chapman_shaoxing/g3/JS20004", "chapman_shaoxing"),
        ("WFDB_PTB/ptb/g1/S0001", "ptb"),
        ("PTB-XL/g1/HR00001", "ptb-xl"),
        ("A0001", "cpsc_2018"),
        ("Q0001", "cpsc_2018_extra"),
        ("I0001", "st_petersburg_incart"),
        ("S0549", "ptb"),
        ("HR21837", "ptb-xl"),
        ("some/where/E10344", "georgia"),
        ("JS10646", "chapman_shaoxing"),
        ("JS10647", "ningbo"),
        ("mine/patient7", "other"),
        ("X0001", "other"),
    ],
)
def test_source_by_folder_then_by_name(path, source):
    assert source_of(path) == source


@pytest.mark.parametrize(
    "samples, rate, seconds, spans",
    [
        (5000, 500.0, 5, ["0:2500", "2500:5000"]),
        (5000, 500.0, 10, ["0:5000"]),
        (7499, 500.0, 5, ["0:2500", "2500:5000"]),  # 5 s less a sample are left over
        (3855, 257.0, 5, ["0:1285", "1285:2570", "2570:3855"]),
        (12000, 1000.0, 10, ["0:10000"]),
        (3500, 500.0, 10, ["0:3500"]),  # shorter than one segment: kept whole
        (2000, 500.0, 5, ["0:2000"]),
    ],
)
def test_segments_follow_one_another(samples, rate, seconds, spans):
    found = segments_of(header(samples, rate), seconds)
    assert [segment.path for segment in found] == [f"g1/A0001#{span}" for span in spans]
    assert [segment.record_id for segment in found] == [f"A0001#{k}" for k in range(len(spans))]


def test_unreadable_header_is_one_segment_for_the_packing_to_judge():
    (segment,) = segments_of(header(0, 0.0), 5)
    assert (segment.record_id, segment.path) == ("A0001#0", "g1/A0001")


def test_header_fields(tmp_path):
    comments = "#Age: {age}\n# Sex: {sex}\n# Dx: 426783006, 59118001"
    unknown = (None, "")
    for age, sex, expected in (
        ("78", "Male", (78, "M")),
        ("300", "F", (90, "F")),
        ("-1", "Unknown", unknown),
        ("NaN", "", unknown),
    ):
        write_wfdb_mat(tmp_path / "E1", np.ones((12, 5000)), comments.format(age=age, sex=sex).splitlines())
        header = tmp_path / "E1.hea"
        header.write_text(header.read_text().replace("500 5000\n", "500 5000 12-May-2020 12:00:00\n", 1))
        found = read_header(tmp_path, "E1")
        assert (found.rate, found.samples, found.sex) == (500, 5000, expected[1])
        assert found.age == expected[0] or (expected[0] is None and np.isnan(found.age))
        assert found.codes == ("426783006", "59118001")
    assert read_header(tmp_path, "missing").samples == 0


@pytest.mark.parametrize("samples", [5001, 10**12])
def test_a_length_that_the_file_does_not_have_is_not_believed(tmp_path, samples):
    write_wfdb_mat(tmp_path / "E1", np.ones((12, 5000)), [])
    header = tmp_path / "E1.hea"
    header.write_text(header.read_text().replace("500 5000\n", f"500 {samples}\n", 1))
    (segment,) = segments_of(read_header(tmp_path, "E1"), 5)
    with pytest.raises(Rejected, match="^truncated: E1.mat has 120024 bytes where the header announces"):
        read_segment(str(tmp_path / segment.path))


def test_a_long_recording_is_verified_once(twin, monkeypatch):
    root, _ = twin
    path = next(root.rglob("I0001.hea")).with_suffix("")
    calls = []
    real = wfdb_records.read_frames
    monkeypatch.setattr(wfdb_records, "read_frames", lambda *given: calls.append(given[1:]) or real(*given))
    monkeypatch.setattr(wfdb_records, "CHUNK_BYTES", 1000)
    wfdb_records._sums.cache_clear()
    found = segments_of(read_header(root, str(path.relative_to(root))), 5)
    assert len(found) == 12
    parts = [read_segment(str(root / segment.path)).signal for segment in found]
    assert [whole for *_, whole in calls].count(True) == 1 and len(calls) == 13
    assert np.allclose(np.concatenate(parts, axis=1), wfdb.rdrecord(str(path)).p_signal.T)


def test_span_beyond_the_recording(twin):
    root, _ = twin
    path = next(root.rglob("E00001.hea")).with_suffix("")
    with pytest.raises(Rejected, match="truncated: 5000 samples where 7500 or more are expected"):
        read_segment(f"{path}#5000:7500")
    assert read_segment(str(path)).signal.shape == (12, 5000)


def test_dx_of_all_sources(twin, tmp_path, capsys):
    root, codes = twin
    assert run("dx", root, tmp_path / "m", "--sources", "all") == 0
    found = metas(tmp_path / "m")
    records = [record for rows in found.values() for record, _ in rows]
    expected = [record for name in codes for record in expected_segments(root, name, 5)]
    assert sorted(records) == sorted(expected) and len(set(records)) == len(records)
    for record, row in labels_by_record(tmp_path / "m").items():
        scored = {COLUMN[code] for code in codes[record.partition("#")[0]] if code in COLUMN}
        assert set(np.flatnonzero(row)) == scored and set(np.unique(row)) <= {0, 1}
    # A recording, and all its pieces, are in one split.
    split_of_recording = {}
    for split, rows in found.items():
        for record, subject in rows:
            assert split_of_recording.setdefault(record.partition("#")[0], split) == split
            assert subject == record.partition("#")[0]
    assert set(found) == {"train", "valid", "test"}
    out = capsys.readouterr().out
    assert "are PTB-XL's: do not evaluate" in out and "evaluation set CPSC2018" in out
    tails = sum(part % 5 for part in _seconds(root, codes))
    assert f"{len(records)} segments of {RECORDS} recordings; {tails:.0f} s after last whole segments left out" in out
    for name, rate in (("I0001", 257), ("S0001", 1000), ("A0001", 500)):
        ecg, n_samples = read_row(tmp_path / "m", f"{name}#1")
        original = wfdb.rdrecord(str(next(root.rglob(f"{name}.hea")))[:-4])
        assert original.fs == rate and original.sig_name == list(LEADS) and n_samples == 2500
        part = original.p_signal.T[:, 5 * rate : 10 * rate]
        assert np.abs(ecg[:, :2500] - resample(part, rate)).max() <= 0.0005 + 1e-6
        assert not ecg[:, 2500:].any()


def _seconds(root, names):
    headers = [wfdb.rdheader(str(next(root.rglob(f"{name}.hea")))[:-4]) for name in names]
    return [h.sig_len / h.fs for h in headers if h.sig_len / h.fs >= 5]


def test_dx_default_is_cpsc_and_georgia(twin, tmp_path, capsys):
    root, codes = twin
    assert run("dx", root, tmp_path / "m") == 0
    names = {record.partition("#")[0] for rows in metas(tmp_path / "m").values() for record, _ in rows}
    assert names == {name for name in codes if name[0] in "AE"}
    assert f"ptb-xl: 0 of {sum(name.startswith('HR') for name in codes)} recordings used" in capsys.readouterr().out
    assert read_json(tmp_path / "m" / "labels.json")["label_set"] == "cinc2021"
    assert set(read_json(tmp_path / "m" / "prompts.json")) == set(NAMES)


def test_shares_of_many_recordings_are_80_10_10(tmp_path):
    recordings = [header(5000, name=f"A{i:04d}") for i in range(6000)]
    segments = [segment for recording in recordings for segment in segments_of(recording, 5)]
    table, _ = physionet2021.dx_records(segments, {}, True, 1, (0.8, 0.1, 0.1))
    counts = Counter(table["split"].to_pylist())
    assert abs(counts["train"] / 12000 - 0.8) < 0.015 and abs(counts["valid"] / 12000 - 0.1) < 0.01
    by_subject, labels = physionet2021.dx_records(segments, {}, False, 1, (0.8, 0.1, 0.1))
    assert set(by_subject["split"].to_pylist()) == {""} and labels.values.shape == (12000, 26)


def test_split_by_segment_is_said_to_leak(twin, tmp_path, capsys):
    root, _ = twin
    assert run("dx", root, tmp_path / "m", "--split-by", "segment") == 0
    splits = {}
    for split, rows in metas(tmp_path / "m").items():
        for record, _ in rows:
            splits.setdefault(record.partition("#")[0], set()).add(split)
    assert any(len(found) > 1 for found in splits.values())
    assert "pieces of one recording are in train, valid and test, which flatters" in capsys.readouterr().out


def test_ten_second_segments(twin, tmp_path):
    root, codes = twin
    assert run("dx", root, tmp_path / "m", "--segment-seconds", "10") == 0
    records = sorted(record for rows in metas(tmp_path / "m").values() for record, _ in rows)
    assert records == sorted(r for name in codes if name[0] in "AE" for r in expected_segments(root, name, 10))
    assert read_row(tmp_path / "m", "A0002#0")[1] == 3500  # 7 s, padded and marked
    assert read_row(tmp_path / "m", "A0003#0")[1] == 5000


def test_faulty_recordings_are_listed(tmp_path):
    root = tmp_path / "data"
    write_physionet2021_layout(root, 15, 5)
    folder = root / "cpsc_2018" / "g1"
    (folder / "A0001.mat").unlink()
    (folder / "A0002.hea").unlink()  # ningbo has signal files without a header
    data = (folder / "A0003.mat").read_bytes()
    (folder / "A0003.mat").write_bytes(data[: len(data) // 2])
    other = root / "georgia" / "g1"
    text = (other / "E00001.hea").read_text()
    write_wfdb_mat(folder / "A0009", wfdb.rdrecord(str(other / "E00001")).p_signal.T[:, :2000], [])
    write_wfdb_mat(folder / "A0010", wfdb.rdrecord(str(other / "E00001")).p_signal.T, [])
    (folder / "A0010.hea").write_text((folder / "A0010.hea").read_text().replace(" 5000\n", " 4000\n", 1))
    (folder / "E00001.hea").write_text(text)  # the same name once more
    (folder / "E00001.mat").write_bytes((other / "E00001.mat").read_bytes())
    assert run("dx", root, tmp_path / "m") == 0
    lines = [line.split("\t") for line in (tmp_path / "m" / "rejected.tsv").read_text().splitlines()[1:]]
    reasons = {}
    for record, _, reason in lines:
        reasons.setdefault(record.partition("#")[0], set()).add(reason.partition(":")[0])
    assert reasons == {
        "A0001": {"missing"},
        "A0002": {"missing"},
        "A0003": {"truncated"},
        "A0009": {"short"},
        "A0010": {"checksum"},
        "E00001": {"duplicate"},
    }
    counts = read_json(tmp_path / "m" / "manifest.json")["counts"]
    assert counts["in"] == counts["out"] + sum(counts["rejected"].values())


def test_wrong_roots_and_sources(tmp_path, twin):
    with pytest.raises(DataError, match="no such folder; expected the training folder"):
        run("dx", tmp_path / "none", tmp_path / "m")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no records; expected"):
        run("dx", tmp_path / "empty", tmp_path / "m")
    with pytest.raises(DataError, match="no recordings of other; choose others with --sources"):
        run("dx", twin[0], tmp_path / "m", "--sources", "other")
    with pytest.raises(DataError, match="must add up to 1"):
        run("dx", twin[0], tmp_path / "m", "--split", "0.8", "0.1", "0.2")


def identification(twin, dest, *more):
    root, _ = twin
    return run("id", root, dest, "--ptb-xl-database", str(root / "ptbxl_database.csv"), *more)


def database(root):
    with open(root / "ptbxl_database.csv", newline="") as handle:
        return {int(row["ecg_id"]): row for row in csv.DictReader(handle)}


def test_identification_pairs(twin, tmp_path, capsys):
    assert identification(twin, tmp_path / "m") == 0
    root, codes = twin
    found = metas(tmp_path / "m")
    people = {}
    for number, row in database(root).items():
        people.setdefault(f"ptb-xl-{row['patient_id'][:-2]}", []).append((row["recording_date"], f"HR{number:05d}"))
    expected = {person: [name for _, name in sorted(own)][:2] for person, own in people.items() if len(own) > 1}
    by_person = {}
    for record, subject in found["test"]:
        by_person.setdefault(subject, []).append(record)
    # Gallery first: the earlier recording; probe: the later one; of each its first segment.
    assert by_person == {person: [f"{name}#0" for name in names] for person, names in expected.items()}
    assert len(by_person) >= 5
    for position in range(0, len(found["valid"]), 2):
        (gallery, who), (probe, who_else) = found["valid"][position : position + 2]
        assert who == who_else and gallery.endswith("#0") and probe.endswith("#1")
        assert gallery[:-2] == probe[:-2]
    subjects = {split: {subject for _, subject in rows} for split, rows in found.items()}
    assert not subjects["train"] & (subjects["valid"] | subjects["test"]) and not subjects["valid"] & subjects["test"]
    names = {record.partition("#")[0] for rows in found.values() for record, _ in rows}
    assert not any(re.match(r"[IS]\d", name) for name in names)
    trained = Counter(record.partition("#")[0] for record, _ in found["train"])
    assert all(count == len(expected_segments(root, name, 5)) for name, count in trained.items())
    out = capsys.readouterr().out
    assert f"identities: {len(subjects['train'])} train, {len(subjects['valid'])} valid, {len(by_person)} test" in out
    assert not (tmp_path / "m" / "labels.json").exists()


def test_identification_without_unused_people(twin, tmp_path):
    assert identification(twin, tmp_path / "a") == 0
    assert identification(twin, tmp_path / "b", "--split", "0.9", "0.1", "0") == 0
    few, all_of_them = metas(tmp_path / "a"), metas(tmp_path / "b")
    assert few["test"] == all_of_them["test"]
    assert set(few["train"]) < set(all_of_them["train"])


def test_identification_without_the_database_leaves_ptb_xl_out(twin, tmp_path, capsys):
    assert run("id", twin[0], tmp_path / "m") == 0
    found = metas(tmp_path / "m")
    assert "test" not in found
    assert not any(record.startswith("HR") for rows in found.values() for record, _ in rows)
    assert "without --ptb-xl-database their people are not known" in capsys.readouterr().out


def test_database_of_other_recordings_is_refused(twin, tmp_path):
    path = tmp_path / "ptbxl_database.csv"
    rows = ["ecg_id,patient_id,age,recording_date", *(f"{n},{n},{n % 7},1990-01-01 00:00:00" for n in range(1, 40))]
    path.write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match="have the age their header says; is this the table"):
        run("id", twin[0], tmp_path / "m", "--ptb-xl-database", str(path))


def test_unusable_segments_give_way_and_are_listed(tmp_path):
    root = tmp_path / "data"
    write_physionet2021_layout(root, 45, 5)
    for name in ("HR00001", "HR00002"):  # two recordings of one person
        path = root / "ptb-xl" / "g1" / f"{name}.mat"
        data = bytearray(path.read_bytes())
        stop = 24 + 2 * 12 * (2500 if name == "HR00001" else 5000)
        data[24:stop] = bytes(stop - 24)
        path.write_bytes(data)
    arguments = ["--ptb-xl-database", str(root / "ptbxl_database.csv"), "--accept-wrong-checksums"]
    assert run("id", root, tmp_path / "m", *arguments) == 0
    found = metas(tmp_path / "m")
    assert not any(record.startswith(("HR00001", "HR00002")) for rows in found.values() for record, _ in rows)
    listed = (tmp_path / "m" / "rejected.tsv").read_text()
    assert "HR00002#0" in listed and "zero: every sample is zero" in listed
    notes = read_json(tmp_path / "m" / "manifest.json")["notes"]
    assert "test: 1 people without two usable segments left out" in notes
    # With one silent segment only, the second one takes its place.
    write_physionet2021_layout(tmp_path / "again", 45, 5)
    path = tmp_path / "again" / "ptb-xl" / "g1" / "HR00001.mat"
    data = bytearray(path.read_bytes())
    data[24 : 24 + 2 * 12 * 2500] = bytes(2 * 12 * 2500)
    path.write_bytes(data)
    assert run("id", tmp_path / "again", tmp_path / "n", *arguments) == 0
    pair = [record for record, _ in metas(tmp_path / "n")["test"] if record.startswith(("HR00001", "HR00002"))]
    assert sorted(pair) == ["HR00001#1", "HR00002#0"]


def test_identification_from_a_store(twin, tmp_path):
    assert run("dx", twin[0], tmp_path / "dx", "--sources", "all") == 0
    assert identification(twin, tmp_path / "packed") == 0
    assert identification(twin, tmp_path / "reused", "--store", str(tmp_path / "dx")) == 0
    assert metas(tmp_path / "packed") == metas(tmp_path / "reused")
    assert not list((tmp_path / "reused").glob("records-*.npy"))
    record = metas(tmp_path / "packed")["test"][0][0]
    assert np.array_equal(read_row(tmp_path / "packed", record)[0], read_row(tmp_path / "reused", record)[0])
    with pytest.raises(DataError, match="not packed in segments of 10 s"):
        identification(twin, tmp_path / "ten", "--store", str(tmp_path / "dx"), "--segment-seconds", "10")


def test_patients_keep_their_recordings_together_in_dx(twin, tmp_path):
    root, _ = twin
    options = ("--sources", "ptb-xl", "--ptb-xl-database", str(root / "ptbxl_database.csv"))
    assert run("dx", root, tmp_path / "m", *options) == 0
    split_of_person = {}
    for split, rows in metas(tmp_path / "m").items():
        for _, subject in rows:
            assert subject.startswith("ptb-xl-") and split_of_person.setdefault(subject, split) == split
    assert len(split_of_person) == len({row["patient_id"] for row in database(root).values()})


def test_twin_command(tmp_path, capsys):
    assert physionet2021_layout.main(["--dest", str(tmp_path), "--records", "15", "--seed", "2"]) == 0
    assert "15 synthetic recordings" in capsys.readouterr().out
    assert {path.split("/")[0] for path in find_records(tmp_path)} == set(physionet2021_layout.SOURCES)


def test_real_recordings(real_data, tmp_path):
    root = real_data / "cinc2021"
    if not root.is_dir():
        pytest.skip(f"no CinC 2021 at {root}")
    assert run("dx", root, tmp_path / "m", "--sources", "all") == 0
    counts = read_json(tmp_path / "m" / "manifest.json")["counts"]
    assert counts == {"in": 100, "out": 100, "rejected": {}}  # 50 recordings of 10 s
    labels = labels_by_record(tmp_path / "m")
    totals = np.sum(list(labels.values()), axis=0)
    # Counted with the challenge's own table of codes; one class of each pair occurs.
    expected = {"STach": 23, "PAC": 20, "NSR": 15, "TAb": 10, "NSIVCB": 9, "SB": 7, "TInv": 5, "PVC": 5, "CRBBB": 2, "LQT": 2}
    expected.update({"IRBBB": 1, "SA": 1, "PRWP": 1})
    assert {name: int(total) for name, total in zip(NAMES, totals) if total} == {n: 2 * c for n, c in expected.items()}
    for name in ("E07500", "HR06003", "JS20004"):
        record = wfdb.rdrecord(str(root / name))
        signal = record.p_signal.T[[[s.lower() for s in record.sig_name].index(lead.lower()) for lead in LEADS]]
        for k in (0, 1):
            ecg, n_samples = read_row(tmp_path / "m", f"{name}#{k}")
            assert n_samples == 2500
            assert np.abs(ecg[:, :2500] - signal[:, 2500 * k : 2500 * (k + 1)]).max() <= 0.0005 + 1e-6


def test_real_recordings_for_identification(real_data, tmp_path):
    root = real_data / "cinc2021"
    if not root.is_dir():
        pytest.skip(f"no CinC 2021 at {root}")
    assert run("id", root, tmp_path / "m") == 0
    found = metas(tmp_path / "m")
    assert sum(len({subject for _, subject in rows}) for rows in found.values()) <= 40
    assert len(found["train"]) == 2 * len({subject for _, subject in found["train"]})
