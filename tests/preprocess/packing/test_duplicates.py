"""Of several records of one id the first that can be used is packed, whatever the blocks and processes."""

import itertools

import numpy as np
import pytest

from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.files import read_json
from cmelt_plugin.data.readers.contract import Recording, Rejected
from cmelt_plugin.data.store.record_store import RecordStore
from preprocess import table
from preprocess.packing.duplicates import DUPLICATE, FirstUsable, find_earlier, packed_rows
from preprocess.packing.pack import PackingOptions, pack
from preprocess.packing.recording import SignalOptions
from preprocess.packing.records import records_table
from tests.preprocess.mimic_layout import make_ecg, write_record

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def read(path):
    name = path.rpartition("/")[2]
    if name.startswith("bad"):
        raise Rejected("missing", name)
    return Recording(make_ecg(int(name)), LEADS, ["mV"] * 12, 500.0)


def packed(tmp_path, ids, paths, reports, rows_per_shard):
    records = records_table(record_id=ids, path=paths, subject_id=ids, report=reports, split=["train"] * len(ids))
    options = PackingOptions(rows_per_shard=rows_per_shard, signal=SignalOptions(implausible="keep"))
    pack(records, tmp_path, tmp_path / "m", options, data_set="t", command="test", reader=read)
    manifest = Manifest.open(tmp_path / "m", "train")
    ecgs = RecordStore(manifest.store_root).read(manifest.shard, manifest.row)
    numbers = [next(n for n in range(40) if np.allclose(make_ecg(n), ecg, atol=1e-3)) for ecg in ecgs]
    rejected = [line.split("\t") for line in (tmp_path / "m" / "rejected.tsv").read_text().splitlines()[1:]]
    return dict(zip(manifest.meta(["record_id"])["record_id"].to_pylist(), numbers)), rejected


IDS = ["a", "b", "a", "c", "a", "b", "d", "d", "a", "e", "e", "c"]
PATHS = ["bad0", "1", "bad2", "3", "4", "5", "bad6", "bad7", "8", "9", "10", "3"]
REPORTS = ["x", "x", "x", "x", "x", "x", "x", "x", "x", "", "x", "x"]


@pytest.mark.parametrize("rows_per_shard", [1, 2, 5, 100])
def test_the_first_usable_record_is_packed(tmp_path, rows_per_shard):
    found, rejected = packed(tmp_path, IDS, PATHS, REPORTS, rows_per_shard)
    assert found == {"a": 4, "b": 1, "c": 3, "e": 10}
    assert [(name, path, reason.partition(":")[0]) for name, path, reason in rejected] == [
        ("a", "bad0", "missing"),
        ("a", "bad2", "missing"),
        ("b", "5", "duplicate"),
        ("d", "bad6", "missing"),
        ("d", "bad7", "missing"),
        ("a", "8", "duplicate"),
        ("e", "9", "report"),
        ("c", "3", "duplicate"),
    ]
    assert packed_rows(IDS, tmp_path / "m" / "rejected.tsv") == {"a": 4, "b": 1, "c": 3, "e": 10}
    counts = read_json(tmp_path / "m" / "manifest.json")["counts"]
    assert counts["in"] == 12 and counts["out"] == 4


def test_each_earlier_record_is_tried_once():
    for usable in itertools.product([False, True], repeat=5):
        calls: list[int] = []

        def try_it(number, calls=calls, usable=usable):
            calls.append(number)
            return usable[number]

        first = FirstUsable(find_earlier(["x"] * 5, [""] * 5), try_it)
        found = [first.is_duplicate(number) for number in range(5)]
        assert found == [any(usable[:number]) for number in range(5)]
        assert len(calls) == len(set(calls))


def test_labels_are_those_of_the_recording_that_is_packed(tmp_path):
    root = tmp_path / "r"
    for number in range(4):
        write_record(root / f"r{number}", make_ecg(number), leads=LEADS)
    (root / "r0.dat").unlink()
    rows = ["id,path,split,AF", "x,r0,train,1", "x,r1,train,0", "y,r2,train,1", "y,r3,train,0", "x,r3,train,1"]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    arguments = ["--table", str(tmp_path / "t.csv"), "--root", str(root), "--dest", str(tmp_path / "m"), "--jobs", "1"]
    arguments += ["--id-column", "id", "--split-column", "split", "--label-columns", "AF"]
    for _ in range(2):  # the second time the directory is complete already
        assert table.main(arguments) == 0
        assert available_splits(tmp_path / "m") == ["train"]
        labels = np.load(tmp_path / "m" / "train.labels.npy")
        ids = Manifest.open(tmp_path / "m", "train").meta(["record_id"])["record_id"].to_pylist()
        assert dict(zip(ids, labels[:, 0].tolist())) == {"x": 0, "y": 1}
    rejected = (tmp_path / "m" / "rejected.tsv").read_text()
    assert "x\tr0\tmissing: r0.dat" in rejected and f"x\tr3\t{DUPLICATE}" in rejected


def test_what_readers_note_is_counted(tmp_path, capsys):
    root = tmp_path / "r"
    for number in range(3):
        write_record(root / f"r{number}", make_ecg(number), leads=LEADS)
        header = root / f"r{number}.hea"
        header.write_text(header.read_text().replace("/mV" if number else "zzz", ""))
    data = bytearray((root / "r2.dat").read_bytes())
    data[100] ^= 1
    (root / "r2.dat").write_bytes(data)
    (tmp_path / "t.csv").write_text("path\nr0\nr1\nr2\n")
    arguments = ["--table", str(tmp_path / "t.csv"), "--root", str(root), "--jobs", "1", "--allow-no-report"]
    assert table.main([*arguments, "--dest", str(tmp_path / "m")]) == 0
    assert "rejected, checksum: 1" in capsys.readouterr().out
    assert table.main([*arguments, "--dest", str(tmp_path / "n"), "--accept-wrong-checksums"]) == 0
    printed = capsys.readouterr().out
    unit = "files: WFDB header without a unit: mV, as WFDB defines: 2 records"
    checksum = "files: checksums in the WFDB header are wrong, accepted: 1 records"
    assert unit in printed and checksum in printed
    assert read_json(tmp_path / "n" / "manifest.json")["notes"][-2:] == [unit, checksum]
