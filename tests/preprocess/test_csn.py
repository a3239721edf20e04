"""The CSN command on a synthetic twin, and on real recordings where they are at hand."""

import csv
import math
import re
import shutil

import numpy as np
import pytest
from scipy.io import loadmat

from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.files import fingerprint, read_json
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.text.prompt_copies import copied_kind
from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import class_names
from preprocess import csn
from preprocess.csn import locate
from preprocess.data_sets.snomed import CSN
from preprocess.synthetic_ecg.layouts import csn_layout
from preprocess.synthetic_ecg.layouts.csn_layout import write_csn_layout

NAMES = class_names("csn")
N = 24
SB = "426177001"


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    root = tmp_path_factory.mktemp("csn") / "data"
    return root, write_csn_layout(root, N, seed=4)


def run(root, dest, *more):
    assert csn.main(["--root", str(root), "--dest", str(dest), "--jobs", "1", *map(str, more)]) == 0
    return contents(dest)


def contents(directory):
    """record → (split, mV [12, 5000], classes, row of the meta file)."""
    found = {}
    for split in available_splits(directory):
        manifest = Manifest.open(directory, split)
        signals = RecordStore(manifest.store_root).read(manifest.shard, manifest.row)
        values, names = manifest.labels()
        assert names == NAMES and (manifest.n_samples == 5000).all()
        for i, meta in enumerate(manifest.meta(["record_id", "subject_id", "sex", "age"]).to_pylist()):
            found[meta["record_id"]] = (split, signals[i], {n for n, v in zip(names, values[i]) if v == 1}, meta)
    return found


def diagnoses(codes):
    return [CSN.get(code, "SB") for code in codes if code in CSN or code == SB]


def write_splits(folder, rows):
    """Files of the published form: substring labels, the constant age 12, and a blank line before the test file's header.

    ``rows`` maps train, val and test to lists of (path, abbreviations).
    """
    folder.mkdir()
    for name, entries in rows.items():
        with open(folder / f"chapman_{name}.csv", "w", newline="") as handle:
            handle.write("\n" if name == "test" else "")
            table = csv.writer(handle)
            table.writerow(["ecg_path", "age", "diagnose", *NAMES])
            for path, given in entries:
                text = ",".join(given)
                table.writerow([path, 12, text, *(int(label in text) for label in NAMES)])
    return folder


def published_path(root, record):
    return "/chapman/" + str(next(root.rglob(f"{record}.hea")).relative_to(root).with_suffix(".mat"))


def split_rows(root, codes):
    records = list(codes)
    parts = {"train": records[:12], "val": records[12:15], "test": records[15:20]}
    rows = {name: [(published_path(root, record), diagnoses(codes[record])) for record in part] for name, part in parts.items()}
    # What neither the header nor the substring labels say alike.
    rows["test"][0] = (rows["test"][0][0], ["1AVB", "AFIB", "STE"])
    rows["test"].append(("/chapman/WFDBRecords/46/460/JS45551.mat", ["SR"]))
    return rows


def test_all_records_by_the_codes_in_their_headers(twin, tmp_path, capsys):
    root, codes = twin
    found = run(root, tmp_path)
    assert {record: entry[2] for record, entry in found.items()} == {
        record: {CSN[code] for code in given if code in CSN} for record, given in codes.items()
    }
    for record, (_, signal, _, meta) in found.items():
        path = next(root.rglob(f"{record}.mat"))
        assert np.abs(signal - loadmat(path)["val"] / 1000).max() < 1e-6
        header = path.with_suffix(".hea").read_text()
        age, sex = (re.search(rf"#{name}: (\w+)", header)[1] for name in ("Age", "Sex"))
        assert (meta["age"], meta["sex"], meta["subject_id"]) == (int(age), sex[0], record)
    out = capsys.readouterr().out
    assert f"  {SB}: in {sum(SB in given for given in codes.values())} headers" in out
    assert "codes as in ConditionNames_SNOMED-CT.csv" in read_json(tmp_path / "manifest.json")["notes"][0]
    labels = read_json(tmp_path / "labels.json")
    assert (labels["label_set"], labels["names"], copied_kind(tmp_path)) == ("csn", NAMES, "description")
    assert set(read_json(tmp_path / "prompts.json")) == set(NAMES)


def test_without_the_table_our_codes_say_the_same(twin, tmp_path):
    root, _ = twin
    shutil.copytree(root / "WFDBRecords", tmp_path / "flat")
    with_table, without = run(root, tmp_path / "a"), run(tmp_path / "flat", tmp_path / "b")
    assert {k: entry[2] for k, entry in with_table.items()} == {k: entry[2] for k, entry in without.items()}


def test_shipped_and_exact_labels(twin, tmp_path, capsys):
    """D-E1, D-E2, D-E4: both label sets over the same recordings, ages from the headers."""
    root, codes = twin
    rows = split_rows(root, codes)
    splits = write_splits(tmp_path / "splits", rows)
    shipped = run(root, tmp_path / "shipped", "--splits", splits)
    out = capsys.readouterr().out
    assert "labels: shipped; classes whose published column counts other classes too" in out
    assert re.search(r"  AVB: \d+ -> 0 \(train \d+ -> 0, valid \d+ -> 0, test [1-9] -> 0\)", out)
    assert f"{N - 20} recordings are in no split file" in out
    exact = run(root, tmp_path / "exact", "--splits", splits, "--labels", "exact", "--store", tmp_path / "shipped")
    assert "headers and exact labels:" in capsys.readouterr().out
    assert not list((tmp_path / "exact").glob("records-*.npy"))
    for name, entries in rows.items():
        for path, given in entries[: 5 if name == "test" else None]:
            record = path[-len("JS00001.mat") : -len(".mat")]
            assert exact[record][2] == set(given) - {"SB"}
            assert shipped[record][2] == {label for label in NAMES if label in ",".join(given)}
            assert np.array_equal(exact[record][1], shipped[record][1])
            assert exact[record][0] == shipped[record][0] == {"val": "valid"}.get(name, name)
            header = next(root.rglob(f"{record}.hea")).read_text()
            assert shipped[record][3]["age"] == int(re.search(r"#Age: (\d+)", header)[1])
    first = rows["test"][0][0][-len("JS00001.mat") : -len(".mat")]
    assert shipped[first][2] - exact[first][2] == {"AVB", "VB", "AF", "ST"}
    for name in ("shipped", "exact"):
        rejected = (tmp_path / name / "rejected.tsv").read_text()
        assert "JS45551\tWFDBRecords/46/460/JS45551\tmissing: " in rejected


def test_the_constant_age_of_the_split_files_is_never_used(twin, tmp_path):
    """D-E4: where the header has no age there is none."""
    root, codes = twin
    shutil.copytree(root, tmp_path / "data")
    record = next(iter(codes))
    header = next((tmp_path / "data").rglob(f"{record}.hea"))
    header.write_text(re.sub("#Age: .*", "#Age: NaN", header.read_text()))
    splits = write_splits(tmp_path / "splits", split_rows(root, codes))
    found = run(tmp_path / "data", tmp_path / "m", "--splits", splits)
    assert math.isnan(found[record][3]["age"])
    assert all(entry[3]["age"] >= 18 for name, entry in found.items() if name != record)


def test_bad_records_are_listed(twin, tmp_path):
    """Two headers of the data set have their first two lines run into one."""
    root, codes = twin
    shutil.copytree(root, tmp_path / "data")
    place = tmp_path / "data" / "WFDBRecords" / "01" / "010"
    header = place / "JS00001.hea"
    header.write_text(re.sub(r"5000\nJS00001.mat 16\+24 10", "5000", header.read_text()))
    assert header.read_text().startswith("JS00001 12 500 500000/mV 16 0 ")
    (place / "JS00002.hea").unlink()
    (place / "JS00003.mat").write_bytes(b"")
    found = run(tmp_path / "data", tmp_path / "m")
    assert set(found) == set(codes) - {"JS00001", "JS00002", "JS00003"}
    rejected = dict(line.split("\t")[::2] for line in (tmp_path / "m" / "rejected.tsv").read_text().splitlines()[1:])
    assert [rejected[f"JS0000{i}"].split(":")[0] for i in (1, 2, 3)] == ["header", "missing", "truncated"]


def test_records_are_located_by_path_and_else_by_name():
    published = ["/chapman/WFDBRecords/01/010/JS00001.mat", "/x/WFDBRecords/01/010/JS00002.mat", "JS00003", "b/JS00004.mat"]
    found = [
        ("JS00001", "WFDBRecords/01/010/JS00001"),
        ("JS00001", "A/JS00001"),
        ("JS00002", "g1/JS00002"),
        ("JS00003", "g1/JS00003"),
    ]
    assert locate(published, sorted(found)) == [
        ("JS00001", "WFDBRecords/01/010/JS00001"),
        ("JS00002", "g1/JS00002"),
        ("JS00003", "g1/JS00003"),
        ("JS00004", "JS00004"),
    ]
    with pytest.raises(DataError, match="'/a/JS1.mat' does not end in the name of a record"):
        locate(["/a/JS1.mat"], found)
    with pytest.raises(DataError, match="JS00001 occurs more than once"):
        locate(["/a/JS00001.mat", "/b/JS00001.mat"], found)


def test_arguments_that_cannot_be_used(twin, tmp_path):
    root, _ = twin
    with pytest.raises(DataError, match="no recordings; expected WFDBRecords"):
        run(tmp_path, tmp_path / "m")
    with pytest.raises(DataError, match="--labels shipped: .*give their folder as --splits"):
        run(root, tmp_path / "m", "--labels", "shipped")
    with pytest.raises(DataError, match="nothing.csv: no such file"):
        run(root, tmp_path / "m", "--conditions", tmp_path / "nothing.csv")


def test_the_twin_is_the_same_for_the_same_seed(tmp_path, capsys):
    assert csn_layout.main(["--records", "3", "--seed", "2", "--dest", str(tmp_path / "a")]) == 0
    assert "3 records in" in capsys.readouterr().out
    write_csn_layout(tmp_path / "b", 3, seed=2)
    names = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(names) == 7
    for name in names:
        if name.suffix != "":
            assert fingerprint(tmp_path / "a" / name) == fingerprint(tmp_path / "b" / name)


def test_real_recordings(real_data, tmp_path, capsys):
    root = real_data / "cinc2021"
    if not list(root.glob("JS*.hea")):
        pytest.skip(f"no recordings of CSN at {root}")
    found = run(root, tmp_path / "all")
    assert sorted(found) == [f"JS{number}" for number in range(20000, 20020)]
    for record, (_, signal, classes, meta) in found.items():
        assert np.abs(signal - loadmat(root / f"{record}.mat")["val"] / 1000).max() < 1e-6
        header = (root / f"{record}.hea").read_text()
        assert "APB" in classes and meta["age"] == int(re.search(r"# Age: (\d+)", header)[1])
        assert meta["sex"] == re.search(r"# Sex: (\w)", header)[1]
    # JS20003 says 427172004, JS20005 too: premature ventricular contractions, which the challenge scores as VPB's code.
    assert found["JS20003"][2] == {"APB", "ST", "TWC", "VPB"} and found["JS20005"][2] == {"APB", "RVH", "ST", "VPB"}
    flat = dict(line.split("\t")[::2] for line in (tmp_path / "all" / "flat-leads.tsv").read_text().splitlines()[1:])
    assert flat == {"JS20004": "V2, V4, V6", "JS20008": "V2, V4, V6"}
    assert "2 recordings with flat leads are kept" in capsys.readouterr().out
    assert set(found) - set(run(root, tmp_path / "strict", "--allow-flat-leads", "0")) == set(flat)
    assert read_json(tmp_path / "strict" / "manifest.json")["counts"]["rejected"] == {"flat": 2}


@pytest.mark.parametrize("labels", ["shipped", "exact"])
def test_real_recordings_in_published_splits(real_data, tmp_path, labels, capsys):
    root, splits = real_data / "cinc2021", real_data / "splits" / "chapman"
    if not list(root.glob("JS*.hea")) or not splits.is_dir():
        pytest.skip(f"no recordings of CSN at {root} with splits at {splits}")
    found = run(root, tmp_path, "--splits", splits, "--labels", labels)
    assert sorted(found) == [f"JS200{number:02d}" for number in (1, 7, 8, 10, 11, 16, 18, 19)]
    # JS20007 is "APB,SB,TWO,TWC", JS20008 "APB,SA", the others have ST.
    assert found["JS20007"][2] == {"APB", "TWO", "TWC"} and found["JS20008"][2] == {"APB", "SA"}
    out = capsys.readouterr().out
    assert "headers and exact labels: 0 of 304 cells differ" in out
    assert "  AF: 4753 -> 3340 (train 3383 -> 2391, valid 383 -> 259, test 987 -> 690)" in out
    assert ("without positives in test, so without an AUC there: VB" in out) == (labels == "exact")
