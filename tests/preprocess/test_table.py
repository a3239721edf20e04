"""A user's own table of recordings."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.files import read_json
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.text.prompt_copies import copied_kind
from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.errors import DataError
from preprocess import table
from tests.preprocess.mimic_layout import make_ecg, write_record

N = 6
ALL_LEADS = ",".join(LEADS)
NAMELESS = ["--leads", ALL_LEADS, "--units", "mV", "--sample-rate", "500"]
LABELS = {"AF": ["1", "0", "0", "", "0", "1"], "PVC": ["0", "1", "1", "0", "0", "0"]}


def wfdb_files(root):
    for i in range(N):
        write_record(root / f"r{i}", make_ecg(i), leads=LEADS)
    return [f"r{i}" for i in range(N)]


def write_table(path, columns):
    frame = pd.DataFrame(columns)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, sep="\t" if path.suffix == ".tsv" else ",", index=False)
    return path


def run(root, columns, *more, name="ours.csv"):
    path = write_table(root / name, columns)
    arguments = ["--table", path, "--root", root, "--dest", root.parent / "m", "--jobs", 1, *more]
    return table.main([str(argument) for argument in arguments])


def by_id(directory):
    """record id → (split, signal [12, 5000] mV, labels or None)"""
    found = {}
    for split in available_splits(directory):
        manifest = Manifest.open(directory, split)
        signals, labels = RecordStore(manifest.store_root).read(manifest.shard, manifest.row), manifest.labels()
        ids = manifest.meta(["record_id"])["record_id"].to_pylist()
        found.update(zip(ids, zip([split] * len(ids), signals, labels[0].tolist() if labels else [None] * len(ids))))
    return found


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.mark.parametrize("name", ["ours.csv", "ours.tsv", "ours.parquet"])
def test_labels_splits_and_texts(root, name, capsys):
    columns = {
        "path": wfdb_files(root),
        "id": [f"id{i}" for i in range(N)],
        "patient": ["a", "a", "b", "c", "d", "e"],
        "part": ["train", "Training", "val", "validation", "dev", "TEST"],
        "text": ["Sinus rhythm. Linkstyp", "Vorhofflimmern", "", "EKG normal", "x", "x"],
        "sex": ["F", "male", "", "f", "M", "?"],
        "age": ["61", "", "x", "30.5", "1", "2"],
        **LABELS,
    }
    options = ["--id-column", "id", "--subject-column", "patient", "--split-column", "part", "--report-column", "text"]
    run(root, columns, *options, "--label-columns", "PVC,AF", "--sex-column", "sex", "--age-column", "age", name=name)
    found = by_id(root.parent / "m")
    assert {key: value[0] for key, value in found.items()} == dict(zip(columns["id"], ["train"] * 2 + ["valid"] * 3 + ["test"]))
    for i in range(N):
        assert np.abs(found[f"id{i}"][1] - make_ecg(i)).max() <= 0.0011
        expected = [float(LABELS[label][i] or "nan") for label in ("PVC", "AF")]
        assert np.array_equal(found[f"id{i}"][2], expected, equal_nan=True)
    assert read_json(root.parent / "m" / "labels.json") == {"label_set": "ours", "names": ["PVC", "AF"]}
    reports = read_reports(root.parent / "m")
    assert reports.texts.to_pylist() == ["sinus rhythm linkstyp", "vorhofflimmern", "ecg normal", "x"]
    assert reports.statements.to_pylist() == [["sinus rhythm", "linkstyp"], ["vorhofflimmern"], ["ecg normal"], ["x"]]
    meta = Manifest.open(root.parent / "m", "train").meta().to_pylist()
    assert [(row["subject_id"], row["sex"], row["age"]) for row in meta][0] == ("a", "F", 61.0)
    assert meta[1]["sex"] == "M" and np.isnan(meta[1]["age"]) and meta[0]["source"] == "ours"
    captured = capsys.readouterr()
    assert "PVC: 0 present, 1 absent, 0 unknown" in captured.out and "median recording: amplitude 1" in captured.out
    assert "no class texts for ours" in captured.err and not (root.parent / "m" / "prompts.json").exists()
    assert read_json(root.parent / "m" / "manifest.json")["notes"] == [
        f"table: {name}",
        "1 of 6 recordings have no F or M in column sex (such as '?'): taken as unknown",
        "1 of 6 recordings have no number of years in column age (such as 'x'): taken as unknown",
    ]


def test_columns_that_are_one_statement_each(root):
    columns = {"path": wfdb_files(root), "first": ["Sinus. Rhythm", "b"] * 3, "second": ["", "EKG; normal"] * 3}
    run(root, columns, "--report-columns", "first,second")
    reports = read_reports(root.parent / "m")
    assert reports.texts.to_pylist() == ["sinus rhythm", "b ecg normal"]
    assert reports.statements.to_pylist() == [["sinus rhythm"], ["b", "ecg normal"]]


def test_sexes_and_ages_that_are_not_understood_are_counted(root, capsys):
    columns = {"path": wfdb_files(root), "sex": ["F", "1", "", "0", "w", "2"], "age": ["61", "1e400", "", "-3", "old", "300"]}
    run(root, columns, "--allow-no-report", "--sex-column", "sex", "--age-column", "age", "--split", "1", "0", "0")
    assert capsys.readouterr().err.count("taken as unknown") == 2
    notes = read_json(root.parent / "m" / "manifest.json")["notes"]
    assert "3 of 6 recordings have no F or M in column sex (such as '1'): taken as unknown" in notes
    assert "3 of 6 recordings have no number of years in column age (such as '1e400'): taken as unknown" in notes
    meta = Manifest.open(root.parent / "m", "train").meta(["sex", "age"])
    assert meta["sex"].to_pylist() == ["F", "", "", "", "F", ""]
    assert np.array_equal(meta["age"].to_numpy(), [61, np.nan, np.nan, np.nan, np.nan, 300], equal_nan=True)


def test_shares_of_patients(root):
    """With labels a fifth is for testing; for pre-training nearly all is for training."""
    columns = {"path": [f"r{i}" for i in range(300)], "t": ["x"] * 300, "AF": ["1"] * 300}
    write_record(root / "r", make_ecg(0), leads=LEADS)
    for i in range(300):
        (root / f"r{i}.hea").write_text((root / "r.hea").read_text())
    run(root, columns, "--report-column", "t")
    sizes = read_json(root.parent / "m" / "manifest.json")["splits"]
    assert sizes["train"] > 270
    run(root, columns, "--label-columns", "AF", "--overwrite")
    sizes = read_json(root.parent / "m" / "manifest.json")["splits"]
    assert 190 < sizes["train"] < 230 and 15 < sizes["valid"] < 45 and 40 < sizes["test"] < 80
    run(root, columns, "--label-columns", "AF", "--overwrite", "--split", "0", "0", "1")
    assert read_json(root.parent / "m" / "manifest.json")["splits"] == {"train": 0, "valid": 0, "test": 300}


def test_class_texts(root):
    (root / "texts.json").write_text(json.dumps({"AF": ["a"], "PVC": ["b", "c"]}))
    run(root, {"path": wfdb_files(root), **LABELS}, "--label-columns", "AF,PVC", "--prompts", root / "texts.json")
    assert read_json(root.parent / "m" / "prompts.json") == {"AF": ["a"], "PVC": ["b", "c"]}


def test_texts_alone_are_for_pre_training(root, capsys):
    columns = {"path": wfdb_files(root), "text": ["a", "b", "", "a", "a", "a"]}
    ecg = make_ecg(0)
    ecg[4] = 0
    write_record(root / "r5", ecg, leads=LEADS)
    run(root, columns, "--report-column", "text", "--split", "1", "0", "0")
    assert read_json(root.parent / "m" / "manifest.json")["counts"]["rejected"] == {"flat": 1, "report": 1}
    assert by_id(root.parent / "m").keys() == {"r0", "r1", "r3", "r4"}
    assert "6 of 6 recordings name no subject and count as subjects of their own" in capsys.readouterr().err
    assert not (root.parent / "m" / "labels.json").exists()


def test_recordings_alone(root):
    with pytest.raises(DataError, match="nothing to learn from: name labels"):
        run(root, {"path": wfdb_files(root)})
    run(root, {"path": wfdb_files(root)}, "--allow-no-report")
    assert len(by_id(root.parent / "m")) == N


def array_files(root, form):
    """Six recordings at 400 Hz in microvolts; returns the paths and further options."""
    ecgs = [make_ecg(i, rate=400) * 1000 for i in range(N)]
    if form == "row":
        with h5py.File(root / "all.h5", "w") as file:
            file["tracings"] = np.stack(ecgs).transpose(0, 2, 1)
        return [f"all.h5:tracings[{i}]" for i in range(N)]
    for i, ecg in enumerate(ecgs):
        path = root / f"r{i}.{form}"
        if form == "npy":
            np.save(path, ecg)
        elif form == "mat":
            savemat(path, {"val": ecg.T, "fs": 400})
        elif form == "npz":
            np.savez(path, val=ecg)
        else:
            np.savetxt(path, ecg.T, delimiter=",", header=ALL_LEADS, comments="")
    return [f"r{i}.{form}" + (":val" if form == "mat" else "") for i in range(N)]


@pytest.mark.parametrize("form", ["npy", "npz", "mat", "csv", "row"])
def test_array_files(root, form):
    paths = array_files(root, form)
    more = ["--units", "uV", "--sample-rate", 400] + ([] if form == "csv" else ["--leads", ALL_LEADS])
    run(root, {"path": paths, **LABELS}, "--label-columns", "AF,PVC", *more)
    found = by_id(root.parent / "m")
    assert sorted(found) == sorted(paths)
    for i, path in enumerate(paths):
        error = np.abs(found[path][1][:, ::5] - make_ecg(i, rate=400)[:, ::4])[:, 20:-20]  # samples both rates have
        assert np.median(error) < 0.05 and error.max() < 0.3
        assert np.isnan(found[path][2][0]) == (LABELS["AF"][i] == "")
    assert set(Manifest.open(root.parent / "m", "train").meta(["source_rate"])["source_rate"].to_pylist()) == {400.0}


def test_places_in_columns_of_their_own(root):
    with h5py.File(root / "a.h5", "w") as file:
        file["x"], file["y"] = np.stack([make_ecg(0), make_ecg(1)]), make_ecg(2, rate=250)[None]
    columns = {
        "file": ["a.h5"] * 3,
        "what": ["x", "x", "y"],
        "number": ["0", "1.0", "0"],
        "hz": ["500", "500.0", "250"],
        "AF": ["0", "1", "0"],
    }
    places = ["--path-column", "file", "--variable-column", "what", "--row-column", "number", "--rate-column", "hz"]
    run(root, columns, *places, "--label-columns", "AF", "--leads", ALL_LEADS, "--units", "mV", "--id-column", "what")
    lines = (root.parent / "m" / "rejected.tsv").read_text().splitlines()
    assert lines[1:] == ["x\ta.h5 variable=x row=1 rate=500.0\tduplicate: an earlier record has the same id"]
    found = by_id(root.parent / "m")
    assert np.abs(found["x"][1] - make_ecg(0)).max() < 0.001
    assert Manifest.open(root.parent / "m", found["y"][0]).meta(["source_rate"])["source_rate"].to_pylist()[-1] == 250.0


def test_several_recordings_of_a_file_have_ids_of_their_own(root):
    np.save(root / "a.npy", np.stack([make_ecg(0), make_ecg(1)]))
    run(root, {"path": ["a.npy"] * 2, "row": [0, 1]}, "--row-column", "row", "--allow-no-report", *NAMELESS)
    assert by_id(root.parent / "m").keys() == {"a.npy[0]", "a.npy[1]"}


def test_files_that_do_not_say_what_they_hold(root):
    np.save(root / "a.npy", make_ecg(0))
    columns = {"path": ["a.npy"], "AF": ["1"]}
    for left_out, message in (
        ("--leads", "1 of 1 recordings, such as a.npy, .* give --leads, their leads in the order of the file"),
        ("--units", "give --units, mV, uV, V or nV"),
        ("--sample-rate", "give --sample-rate in Hz, or --rate-column"),
    ):
        place = NAMELESS.index(left_out)
        with pytest.raises(DataError, match=message):
            run(root, columns, "--label-columns", "AF", *NAMELESS[:place], *NAMELESS[place + 2 :])
    with pytest.raises(DataError, match="give --leads.*; --units.*; --sample-rate"):
        run(root, columns, "--label-columns", "AF")
    with pytest.raises(DataError, match="unknown lead VX"):
        run(root, columns, "--label-columns", "AF", *NAMELESS[2:], "--leads", "I,VX")
    assert not (root.parent / "m").exists()


def test_devices_of_few_leads(root, capsys):
    np.save(root / "a.npy", make_ecg(0, leads=2)[::-1])
    columns = {"path": ["a.npy"], "AF": ["1"]}
    two = ["--label-columns", "AF", *NAMELESS[2:], "--leads", "II,I"]
    with pytest.raises(DataError, match="--leads II,I: fewer than 12; accept that with --missing-leads zero"):
        run(root, columns, *two)
    run(root, columns, *two, "--missing-leads", "zero")
    signal = by_id(root.parent / "m")["a.npy"][1]
    assert np.abs(signal[:2] - make_ecg(0, leads=2)).max() <= 0.0006 and not signal[2:].any()
    notes = read_json(root.parent / "m" / "manifest.json")["notes"]
    assert notes[-2:] == ["leads a recording lacks are zero", "leads I, II: 1 records"]
    with pytest.raises(DataError, match="made with other arguments"):
        run(root, columns, "--label-columns", "AF", *NAMELESS[2:], "--leads", "I,II", "--missing-leads", "zero")


def test_a_wrong_unit_is_noticed(root, capsys):
    np.save(root / "a.npy", make_ecg(0) * 1000)
    with pytest.raises(DataError, match="no record could be used"):
        run(root, {"path": ["a.npy"], "AF": ["1"]}, "--label-columns", "AF", *NAMELESS)
    captured = capsys.readouterr()
    assert "times too large (likely 1,000: millivolts confused" in captured.err and "rejected, clipped: 1" in captured.out
    np.save(root / "a.npy", make_ecg(0) / 1000)
    run(root, {"path": ["a.npy"], "AF": ["1"]}, "--label-columns", "AF", *NAMELESS, "--overwrite")
    captured = capsys.readouterr()
    assert "times too small (likely 1,000: millivolts confused" in captured.err and "doubtful, amplitude-low: 1" in captured.out
    run(root, {"path": ["a.npy"], "AF": ["1"]}, "--label-columns", "AF", *NAMELESS, "--gain", "0.001", "--overwrite")
    captured = capsys.readouterr()
    assert "check unit and gain" not in captured.err and "median recording: amplitude 1" in captured.out


def test_bad_recordings_are_listed(root):
    paths = wfdb_files(root)
    (root / "r1.dat").unlink()
    np.save(root / "short.npy", make_ecg(0, seconds=1))
    np.save(root / "shape.npy", make_ecg(0)[:5])
    (root / "junk.npy").write_bytes(b"junk")
    paths += ["short.npy", "shape.npy", "junk.npy", "gone.npy"]
    run(root, {"path": paths, "AF": ["1"] * len(paths)}, "--label-columns", "AF", *NAMELESS)
    rejected = dict(line.split("\t")[::2] for line in (root.parent / "m" / "rejected.tsv").read_text().splitlines()[1:])
    codes = {"r1": "missing", "short.npy": "short", "shape.npy": "leads", "junk.npy": "unreadable", "gone.npy": "missing"}
    assert {record: reason.split(":")[0] for record, reason in rejected.items()} == codes


def test_names_are_compared_whole(root, capsys):
    """D-E2: looking for a name in the text would give AF to AFIB, and VB to 1AVB."""
    cells = ["AFIB", "AF", "1AVB; AF ;", "VB", "", "1AVB"]
    run(root, {"path": wfdb_files(root), "dx": cells}, "--label-column", "dx")
    names = Manifest.open(root.parent / "m", "train").labels()[1]
    assert names == ["1AVB", "AF", "AFIB", "VB"]
    found = [by_id(root.parent / "m")[f"r{i}"][2] for i in range(N)]
    assert found[:4] == [[0, 0, 1, 0], [0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]]
    assert np.isnan(found[4]).all() and found[5] == [1, 0, 0, 0]


def test_chosen_classes(root, capsys):
    cells = ["AFIB|SR", "AF", "SR", "", "SR|AFIB", "XX"]
    options = ["--label-column", "dx", "--separator", "|", "--classes", "SR,AFIB,LBBB", "--empty", "absent"]
    run(root, {"path": wfdb_files(root), "dx": cells}, *options)
    found = by_id(root.parent / "m")
    assert [found[f"r{i}"][2] for i in range(N)] == [
        [1, 1, 0],
        [0, 0, 0],
        [1, 0, 0],
        [0, 0, 0],
        [1, 1, 0],
        [0] * 3,
    ]
    assert "2 names in dx are no classes and are ignored: AF (1), XX (1)" in capsys.readouterr().err


def test_a_label_set_of_ours(root):
    options = ["--label-column", "dx", "--label-set", "ptb-xl-super"]
    run(root, {"path": wfdb_files(root), "dx": ["MI"] * 3 + ["NORM;CD"] * 3}, *options)
    names = ["HYP", "NORM", "MI", "CD", "STTC"]
    labels = read_json(root.parent / "m" / "labels.json")
    assert (labels["label_set"], labels["names"]) == ("ptb-xl-super", names)
    assert copied_kind(root.parent / "m") == "description"
    assert list(read_json(root.parent / "m" / "prompts.json")) == names
    assert by_id(root.parent / "m")["r5"][2] == [0, 1, 0, 1, 0]


def test_lists_in_parquet(root):
    run(
        root,
        {"path": wfdb_files(root), "dx": [["A", "B"], ["B"], [], None, ["A"], ["A"]]},
        "--label-column",
        "dx",
        name="t.parquet",
    )
    assert by_id(root.parent / "m")["r0"][2] == [1, 1] and np.isnan(by_id(root.parent / "m")["r2"][2]).all()


def test_booleans_and_numbers_in_parquet(root):
    columns = {"path": wfdb_files(root), "a": [True, False, None, True, False, True], "b": [1.0, 0.0, 1.0, np.nan, 0.0, 0.0]}
    run(root, columns, "--label-columns", "a,b", "--split", "1", "0", "0", name="t.parquet")
    expected = [[1, 1], [0, 0], [np.nan, 1], [1, np.nan], [0, 0], [1, 0]]
    assert np.array_equal([by_id(root.parent / "m")[f"r{i}"][2] for i in range(N)], expected, equal_nan=True)


def test_exactly_one_class(root):
    files = wfdb_files(root)
    run(root, {"path": files, "dx": ["a;b", "c", "", "c", "c", "a;b"]}, "--label-column", "dx", "--multi-class")
    assert Manifest.open(root.parent / "m", "train").labels()[1] == ["a;b", "c"]  # such a cell is one name
    with pytest.raises(DataError, match="record r0: 2 classes; .* exactly one for each record, and 3 have not"):
        run(
            root, {"path": files, "A": ["1"] * N, "B": list("100110")}, "--label-columns", "A,B", "--multi-class", "--overwrite"
        )


@pytest.mark.parametrize(
    "columns, options, message",
    [
        ({"path": ["r0"]}, ["--label-columns", "AF"], "no column AF"),
        ({"file": ["r0"], "AF": ["1"]}, ["--label-columns", "AF"], "no column path"),
        ({"path": ["r0"], "AF": ["yes"]}, ["--label-columns", "AF"], "record r0, column AF: 'yes' is not 0, 1 or empty"),
        ({"path": ["r0"], "AF": ["1"]}, ["--label-columns", "AF,AF"], "give the name of each class column once"),
        ({"path": ["", "x"], "AF": ["1"] * 2}, ["--label-columns", "AF"], "row 1, column path: '' is no path"),
        ({"path": [], "AF": []}, ["--label-columns", "AF"], "no rows"),
        ({"path": ["r0"], "dx": [""]}, ["--label-column", "dx"], "no recording has a class in column dx"),
        ({"path": ["r0"], "dx": ["x"]}, ["--label-column", "dx", "--classes", "y"], "no recording has a class in column dx"),
        (
            {"path": ["r0"], "AF": ["1"], "s": ["all"]},
            ["--label-columns", "AF", "--split-column", "s"],
            "'all' is not train, val",
        ),
        ({"path": ["r0"], "AF": ["1"], "i": [""]}, ["--label-columns", "AF", "--id-column", "i"], "row 1: no id in column i"),
        (
            {"path": ["r0"], "AF": ["1"], "n": ["-1"]},
            ["--label-columns", "AF", "--row-column", "n"],
            "-1 is no row of an array",
        ),
        ({"path": ["r0"], "AF": ["1"], "n": ["x"]}, ["--label-columns", "AF", "--rate-column", "n"], "'x' is not a number"),
        ({"path": ["r0"], "t": ["1"]}, ["--report-column", "t", "--store", "s"], "--store s: goes with labels"),
        ({"path": ["r0"], "AF": ["1"]}, ["--label-columns", "AF", "--label-set", "cpsc2018"], "no class text for AF"),
    ],
)
def test_tables_that_cannot_be_used(root, columns, options, message):
    with pytest.raises(DataError, match=message):
        run(root, columns, *options)
    assert not (root.parent / "m").exists()


def test_subjects_in_two_splits_are_pointed_out(root, capsys):
    columns = {"path": wfdb_files(root), "p": list("aabbcc"), "s": ["train", "test"] * 3, "AF": ["1"] * N}
    run(root, columns, "--label-columns", "AF", "--subject-column", "p", "--split-column", "s")
    assert "3 subjects have recordings in more than one split" in capsys.readouterr().err


def test_a_store_is_used_again(root):
    columns = {"path": wfdb_files(root), **LABELS}
    run(root, columns, "--label-columns", "AF,PVC", "--split", "0.5", "0", "0.5")
    path = root / "ours.csv"
    more = ["--label-columns", "PVC", "--split", "0.5", "0", "0.5", "--store", str(root.parent / "m"), "--jobs", "1"]
    table.main(["--table", str(path), "--root", str(root), "--dest", str(root.parent / "n"), *more])
    first, second = by_id(root.parent / "m"), by_id(root.parent / "n")
    assert first.keys() == second.keys() and not list((root.parent / "n").glob("records-*"))
    for record, (split, signal, labels) in first.items():
        assert second[record][0] == split and np.array_equal(second[record][1], signal)
        assert second[record][2] == labels[1:]


def test_several_processes_give_the_same_files(root):
    paths = array_files(root, "row")
    columns = {"path": paths, **LABELS}
    options = [
        "--label-columns",
        "AF,PVC",
        "--leads",
        ALL_LEADS,
        "--units",
        "uV",
        "--sample-rate",
        "400",
        "--rows-per-shard",
        "2",
    ]
    run(root, columns, *options)
    one = (root.parent / "m" / "store.json").read_bytes()
    run(root, columns, *options, "--jobs", "2", "--overwrite")
    assert (root.parent / "m" / "store.json").read_bytes() == one


def test_the_centre_of_long_recordings(root):
    np.save(root / "a.npy", make_ecg(0, seconds=14))
    run(root, {"path": ["a.npy"], "t": ["x"]}, "--report-column", "t", *NAMELESS, "--crop", "centre")
    assert np.abs(by_id(root.parent / "m")["a.npy"][1] - make_ecg(0, seconds=14)[:, 1000:6000]).max() <= 0.0006


def test_real_recordings_of_several_kinds(real_data, tmp_path):
    """WFDB records, WFDB records in .mat files and MATLAB structs, in one table."""
    paths = ["ptb-xl/records500/00000/00001_hr.hea", "cinc2021/JS20000.mat", "cpsc2018/A1980.mat:ECG.data"]
    if not all((real_data / path.split(":")[0]).is_file() for path in paths):
        pytest.skip(f"not all of {paths} in {real_data}")
    write_table(tmp_path / "t.csv", {"path": paths, "AF": ["0", "1", "0"]})
    arguments = ["--table", str(tmp_path / "t.csv"), "--root", str(real_data), "--dest", str(tmp_path / "m"), "--jobs", "1"]
    assert table.main([*arguments, "--label-columns", "AF", *NAMELESS]) == 0
    assert read_json(tmp_path / "m" / "manifest.json")["counts"] == {"in": 3, "out": 3, "rejected": {}}
    assert by_id(tmp_path / "m").keys() == set(paths)


def test_an_empty_separator_is_refused(root, capsys):
    with pytest.raises(SystemExit):
        run(root, {"path": wfdb_files(root), "dx": ["A"] * N}, "--label-column", "dx", "--separator", "")
    assert "argument --separator: empty; give what stands between class names" in capsys.readouterr().err
