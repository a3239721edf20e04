"""Manifest directories over the recordings of another one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.files import fingerprint, read_json, write_json
from cmelt_plugin.data.readers.contract import Recording
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.errors import DataError
from preprocess.packing import reuse
from preprocess.packing.pack import PackingOptions, pack
from preprocess.packing.recording import SignalOptions
from preprocess.packing.records import records_table
from preprocess.packing.reuse import reuse_store
from tests.preprocess.mimic_layout import make_ecg

LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", *(f"V{i}" for i in range(1, 7))]
N = 10


def read_made_up(path):
    """A reader without files: r7 lasts 7 s, r5 has a flat lead."""
    number = int(Path(path).name[1:])
    ecg = make_ecg(number, seconds=7 if number == 7 else 10)
    if number == 5:
        ecg[3] = 0.25
    return Recording(ecg, LEADS, ["mV"] * 12, 500)


def made_up(numbers=range(N), **columns):
    names = [f"r{i}" for i in numbers]
    reports = [f"text {i % 3}" for i in numbers]
    split = [("train", "train", "valid", "test")[i % 4] for i in numbers]
    return records_table(
        **{"record_id": names, "path": names, "subject_id": names, "report": reports, "split": split, **columns}
    )


def pack_made_up(folder, records=None, data_set="made-up", **options):
    options = PackingOptions(rows_per_shard=4, **options)
    pack(
        records or made_up(),
        folder.parent / "root",
        folder,
        options,
        data_set=data_set,
        command="pack",
        notes=["n"],
        reader=read_made_up,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A packed directory of r0 … r9 without r5, which has a flat lead."""
    folder = tmp_path_factory.mktemp("store") / "packed"
    folder.mkdir()
    pack_made_up(folder)
    return folder


def reuse_made_up(store, dest, records=None, data_set="made-up", **options):
    records = made_up() if records is None else records
    options = PackingOptions(**options)
    reuse_store(records, store, dest, options, data_set=data_set, command="reuse", notes=["our note"])


def contents(folder):
    return {path.relative_to(folder).as_posix(): fingerprint(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def by_id(directory):
    """record id → (split, real samples, signal, report, rate)"""
    texts, found = read_reports(directory).texts.to_pylist(), {}
    for split in available_splits(directory):
        manifest = Manifest.open(directory, split)
        signals = RecordStore(manifest.store_root).read(manifest.shard, manifest.row)
        for row, signal, n in zip(manifest.meta().to_pylist(), signals, manifest.n_samples):
            report = texts[row["report_id"]] if row["report_id"] >= 0 else ""
            found[row["record_id"]] = split, int(n), signal, report, row["source_rate"]
    return found


def test_signals_splits_and_reports_are_those_of_packing(store, tmp_path):
    chosen = made_up([9, 7, 2, 1], split=["test", "train", "valid", "train"])
    reuse_made_up(store, tmp_path / "m", chosen)
    pack_made_up(tmp_path / "packed", chosen)
    shared, own = by_id(tmp_path / "m"), by_id(tmp_path / "packed")
    assert shared.keys() == own.keys() == {"r9", "r7", "r2", "r1"}
    for record, (split, n_samples, signal, report, rate) in own.items():
        assert shared[record][:2] == (split, n_samples) and shared[record][3:] == (report, rate)
        assert np.array_equal(shared[record][2], signal)
    assert shared["r7"][1] == 3500
    assert not list((tmp_path / "m").glob("records-*")) and not (tmp_path / "m" / ".packing").exists()
    manifest = read_json(tmp_path / "m" / "manifest.json")
    assert manifest["recordings"] == {"command": "pack", "notes": ["n"]} and manifest["notes"][0] == "our note"
    assert manifest["reports"] == 3 and manifest["splits"] == {"train": 2, "valid": 1, "test": 1}


def test_records_the_store_lacks_are_listed_with_its_reason(store, tmp_path, capsys):
    records = made_up([4, 5, 12, 4])
    reuse_made_up(store, tmp_path / "m", records)
    lines = (tmp_path / "m" / "rejected.tsv").read_text(encoding="utf-8").splitlines()[1:]
    assert [line.split("\t")[0] for line in lines] == ["r5", "r12", "r4"]
    assert [line.split("\t")[2].split(":")[0] for line in lines] == ["flat", "store", "duplicate"]
    assert "constant in aVR" in lines[0]
    counts = {"in": 4, "out": 1, "rejected": {"duplicate": 1, "flat": 1, "store": 1}}
    assert read_json(tmp_path / "m" / "manifest.json")["counts"] == counts
    assert "lacks 3 of 4 records; rejected.tsv says why" in capsys.readouterr().err


def test_subjects_are_split_by_hash_where_no_split_is_given(store, tmp_path):
    records = made_up(split=[""] * N, subject_id=[f"s{i // 2}" for i in range(N)])
    reuse_made_up(store, tmp_path / "m", records, fractions=(0.5, 0.2, 0.3), seed=4)
    (tmp_path / "p").mkdir()
    pack_made_up(tmp_path / "p", records, fractions=(0.5, 0.2, 0.3), seed=4)
    assert {k: v[0] for k, v in by_id(tmp_path / "m").items()} == {k: v[0] for k, v in by_id(tmp_path / "p").items()}


def test_a_store_of_a_store(store, tmp_path):
    reuse_made_up(store, tmp_path / "a", made_up(range(8)))
    reuse_made_up(tmp_path / "a", tmp_path / "b" / "c", made_up([0, 1, 2, 3]))
    assert by_id(tmp_path / "b" / "c").keys() == {"r0", "r1", "r2", "r3"}
    root = (tmp_path / "b" / "c" / "train.tsv").read_text().splitlines()[0]
    assert (tmp_path / "b" / "c" / root).resolve() == store.resolve()
    with pytest.raises(DataError, match="keeps the start of longer recordings where the centre is wanted"):
        reuse_made_up(tmp_path / "a", tmp_path / "d", signal=SignalOptions(crop="centre"))
    with pytest.raises(DataError, match="for both directories or for neither; its leads are in millivolts"):
        reuse_made_up(tmp_path / "a", tmp_path / "d", signal=SignalOptions(standardise_leads=True))


def test_a_store_is_not_replaced_by_a_directory_over_it(tmp_path):
    store, over = tmp_path / "packed", tmp_path / "over"
    store.mkdir()
    pack_made_up(store)
    reuse_made_up(store, over)
    reuse_made_up(over, tmp_path / "further")
    before = contents(store)
    (tmp_path / "link").symlink_to(store)
    for between in (over, tmp_path / "further"):
        for dest in (store, tmp_path / "link"):
            with pytest.raises(DataError, match="holds the recordings of --store"):
                reuse_made_up(between, dest, overwrite=True)
    assert contents(store) == before


def test_through_a_symbolic_link(store, tmp_path):
    real = tmp_path / "far" / "away" / "manifests"
    real.mkdir(parents=True)
    (tmp_path / "link").symlink_to(real)
    reuse_made_up(store, tmp_path / "link" / "m")
    assert len(by_id(tmp_path / "link" / "m")) == len(by_id(real / "m")) == 9


def test_relative_folders(store, tmp_path):
    script = (
        "from pathlib import Path\n"
        "from tests.preprocess.packing import test_reuse as t\n"
        f"t.reuse_made_up(Path({os.path.relpath(store, tmp_path)!r}), Path('deep/er/m'))\n"
    )
    root = Path(__file__).resolve().parents[3]
    env = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, check=True, capture_output=True)
    assert len(by_id(tmp_path / "deep" / "er" / "m")) == 9


def test_the_same_command_again_changes_nothing(store, tmp_path, capsys):
    reuse_made_up(store, tmp_path / "m")
    before = contents(tmp_path / "m")
    reuse_made_up(store, tmp_path / "m")
    assert contents(tmp_path / "m") == before
    assert "was complete already" in capsys.readouterr().out


@pytest.mark.parametrize("last", ["write_rejected", "write_records_files", "write_json"])
def test_a_killed_run_is_finished_by_the_same_command(store, tmp_path, monkeypatch, last):
    reuse_made_up(store, tmp_path / "whole")

    def die(*arguments, **keywords):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reuse, last, die)
        with pytest.raises(KeyboardInterrupt):
            reuse_made_up(store, tmp_path / "m")
    assert not (tmp_path / "m" / "manifest.json").exists()
    with pytest.raises(DataError, match="made with other arguments or from other files"):
        reuse_made_up(store, tmp_path / "m", made_up(range(3)))
    reuse_made_up(store, tmp_path / "m")
    assert contents(tmp_path / "m") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"records": made_up(range(3))}, "different: records"),
        ({"records": made_up(report=["other"] * N)}, "different: records"),
        ({"seed": 2}, "different: seed"),
    ],
)
def test_other_input_is_refused(store, tmp_path, change, message):
    reuse_made_up(store, tmp_path / "m")
    before = contents(tmp_path / "m")
    with pytest.raises(DataError, match=message):
        reuse_made_up(store, tmp_path / "m", **change)
    assert contents(tmp_path / "m") == before
    reuse_made_up(store, tmp_path / "m", overwrite=True, **change)
    assert (tmp_path / "m" / "manifest.json").is_file()


def test_a_store_that_was_packed_anew_is_noticed(tmp_path):
    (tmp_path / "s").mkdir()
    pack_made_up(tmp_path / "s")
    reuse_made_up(tmp_path / "s", tmp_path / "m")
    pack_made_up(tmp_path / "s", made_up(range(N)[::-1]), overwrite=True)
    with pytest.raises(DataError, match="different: store"):
        reuse_made_up(tmp_path / "s", tmp_path / "m")


def test_stores_that_cannot_be_used(store, tmp_path):
    with pytest.raises(DataError, match="no manifest.json; --store needs"):
        reuse_made_up(tmp_path, tmp_path / "m")
    with pytest.raises(DataError, match="--dest and --store must be two folders"):
        reuse_made_up(store, store / ".." / store.name)
    with pytest.raises(DataError, match="holds recordings of made-up, not of ptb-xl"):
        reuse_made_up(store, tmp_path / "m", data_set="ptb-xl")
    with pytest.raises(DataError, match="holds none of the 2 records"):
        reuse_made_up(store, tmp_path / "m", made_up([20, 21]))
    with pytest.raises(DataError, match="keeps the start of longer recordings where the centre is wanted"):
        reuse_made_up(store, tmp_path / "m", signal=SignalOptions(crop="centre"))
    assert not (tmp_path / "m").exists()


def test_directories_of_others_are_left_alone(store, tmp_path):
    (tmp_path / "p").mkdir()
    pack_made_up(tmp_path / "p", made_up(range(4)))
    before = contents(tmp_path / "p")
    with pytest.raises(DataError, match="made with other arguments"):
        reuse_made_up(store, tmp_path / "p")
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "train.tsv").write_text("mine\n")
    with pytest.raises(DataError, match="holds files of unknown origin"):
        reuse_made_up(store, tmp_path / "q")
    assert contents(tmp_path / "p") == before and (tmp_path / "q" / "train.tsv").read_text() == "mine\n"


@pytest.mark.parametrize(
    "name, text",
    [
        ("manifest.json", "[]"),
        ("manifest.json", "{}"),
        ("manifest.json", '{"data_set": "made-up", "arguments": {"signal": 7}}'),
        ("manifest.json", '{"data_set": "made-up", "arguments": []}'),
        ("rejected.tsv", "record_id\tpath\treason\nM\xfcller\tx\ty\n"),
    ],
)
def test_a_store_of_odd_shape_is_one_line(tmp_path, name, text):
    pack_made_up(tmp_path / "s")
    (tmp_path / "s" / "checksums.json").unlink()
    manifest = read_json(tmp_path / "s" / "manifest.json")
    del manifest["checksums"]
    write_json(tmp_path / "s" / "manifest.json", manifest)
    (tmp_path / "s" / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=name) as refusal:
        reuse_made_up(tmp_path / "s", tmp_path / "m")
    assert "\n" not in str(refusal.value) and not (tmp_path / "m").exists()
