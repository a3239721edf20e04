"""Packing: jobs, resuming after kill -9, refusals, counts."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cmelt_plugin import cli
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import fingerprint, read_json
from cmelt_plugin.data.readers.contract import Recording
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.errors import DataError
from preprocess import mimic_iv_ecg
from preprocess.packing import finish
from preprocess.packing.pack import PackingOptions, pack
from preprocess.packing.records import records_table
from preprocess.packing.splits import assign_splits, split_of
from tests.preprocess.mimic_layout import make_ecg, write_mimic_layout

REPOSITORY = Path(__file__).resolve().parents[3]


def read_made_up(path):
    """A reader without files; the name says what it gives."""
    name = Path(path).name
    if name == "killer" and not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Recording(
        make_ecg(len(name)), ["I", "II", "III", "aVR", "aVL", "aVF", *(f"V{i}" for i in range(1, 7))], ["mV"] * 12, 500
    )


def made_up(n, **columns):
    names = [f"r{i}" for i in range(n)]
    return records_table(**{"record_id": names, "path": names, "subject_id": names, "report": ["Text"] * n, **columns})


def pack_made_up(records, folder, **options):
    options = PackingOptions(rows_per_shard=4, **options)
    return pack(records, folder, folder / "m", options, data_set="made-up", command="test", reader=read_made_up)


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """MIMIC layout of 20 records, of which blocks 1 (partly) and 3 (wholly, at 4 rows a block) cannot be used."""
    root = tmp_path_factory.mktemp("mimic")
    records = [{} for _ in range(20)]
    records[5] = {"fault": "truncated"}
    records[6] = {"report": ["", " . "]}
    records[12] = records[13] = {"fault": "missing_dat"}
    records[14] = {"ecg": np.zeros((12, 5000))}
    records[15] = {"seconds": 2}
    write_mimic_layout(root, records)
    return root


def arguments(root, dest, *more):
    return ["--root", str(root), "--dest", str(dest), "--rows-per-shard", "4", "--jobs", "1", *more]


def contents(folder):
    return {p.relative_to(folder).as_posix(): fingerprint(p) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def whole(layout, tmp_path_factory):
    """Contents of an uninterrupted run."""
    dest = tmp_path_factory.mktemp("whole") / "m"
    assert mimic_iv_ecg.main(arguments(layout, dest)) == 0
    return contents(dest)


def test_counts_add_up(layout, tmp_path, capsys):
    mimic_iv_ecg.main(arguments(layout, tmp_path))
    counts = read_json(tmp_path / "manifest.json")["counts"]
    assert counts == {
        "in": 20,
        "out": 14,
        "rejected": {"missing": 2, "report": 1, "short": 1, "truncated": 1, "zero": 1},
    }
    assert "20 records in = 14 out + 6 rejected" in capsys.readouterr().out
    lines = (tmp_path / "rejected.tsv").read_text().splitlines()
    assert lines[0] == "record_id\tpath\treason"
    assert [line.split("\t")[0] for line in lines[1:]] == [str(40000000 + i) for i in (5, 6, 12, 13, 14, 15)]
    assert read_json(tmp_path / "store.json")["shards"][3]["file"] == "records-00004.npy"
    assert not (tmp_path / "records-00003.npy").exists() and not (tmp_path / ".packing").exists()


def test_every_row_is_the_record_its_meta_names(layout, tmp_path):
    mimic_iv_ecg.main(arguments(layout, tmp_path, "--split", "0.4", "0.3", "0.3"))
    store, reports = RecordStore(tmp_path), read_reports(tmp_path)
    subjects, total = {}, np.zeros(len(reports), int)
    for split in ("train", "valid", "test"):
        manifest = Manifest.open(tmp_path, split)
        meta = manifest.meta()
        ecg = store.read(manifest.shard, manifest.row)
        total += np.bincount(manifest.report_ids(), minlength=len(reports))
        for i, (record, subject, report) in enumerate(
            zip(*(meta[c].to_pylist() for c in ("record_id", "subject_id", "report_id")))
        ):
            number = int(record) - 40000000
            assert np.abs(ecg[i, 0] - make_ecg(number)[0]).max() <= 0.0011
            assert reports.texts[report].as_py() == ("sinus rhythm normal ecg" if number % 3 else "sinus rhythm abnormal ecg")
            assert subjects.setdefault(subject, split) == split
    assert total.tolist() == reports.counts.tolist()
    assert len(subjects) == 8


def test_two_processes_give_the_same_files(layout, tmp_path, whole):
    assert mimic_iv_ecg.main(arguments(layout, tmp_path / "m")[:-1] + ["2"]) == 0
    assert contents(tmp_path / "m") == whole


KILLED = """
import os, shutil, signal, sys
from preprocess import mimic_iv_ecg
left = int(sys.argv[1])
def counted(real):
    def call(*args, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **options)
    return call
os.replace, shutil.rmtree = counted(os.replace), counted(shutil.rmtree)
mimic_iv_ecg.main(sys.argv[2:])
"""


# What the run below needs: plan, 5 x 2 for blocks, rejected, implausible, store, reports, train x 2, manifest, checksums,
SWAP = (
    21  # journal; then 4 shards, rejected, implausible, reports, store, train x 2, checksums and manifest are moved; clean-up
)
LAST = 33


@pytest.mark.parametrize("rename", [1, 4, 5, 12, SWAP - 1, SWAP, SWAP + 1, 25, LAST - 1, LAST])
def test_killed_at_a_rename_and_run_again(layout, tmp_path, whole, capsys, rename):
    """Before the plan, in and after block 1, in the final step, before, in and after the swap, and before the clean-up."""
    command = [sys.executable, "-c", KILLED, str(rename), *arguments(layout, tmp_path / "m")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert contents(tmp_path / "m") != whole
    assert mimic_iv_ecg.main(arguments(layout, tmp_path / "m")) == 0
    assert ("going on where an earlier run stopped" in capsys.readouterr().err) == (1 < rename < SWAP)
    assert contents(tmp_path / "m") == whole


def test_killed_from_outside_with_two_processes(layout, tmp_path, whole):
    dest = tmp_path / "m"
    command = [sys.executable, "-m", "preprocess.mimic_iv_ecg", *arguments(layout, dest)[:-1], "2"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(dest.glob(".packing/records-*.json")):
        time.sleep(0.002)
    process.kill()
    process.wait()
    time.sleep(0.2)  # the workers notice the death of their parent
    mimic_iv_ecg.main(arguments(layout, dest))
    assert contents(dest) == whole


def test_finished_blocks_are_not_packed_again(layout, tmp_path, whole, monkeypatch):
    monkeypatch.setattr(finish, "write_store_json", lambda *a: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space")))
    with pytest.raises(OSError):
        mimic_iv_ecg.main(arguments(layout, tmp_path))
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob(".packing/*.npy")}
    monkeypatch.undo()
    (tmp_path / ".packing" / "records-00002.npy").unlink()
    mimic_iv_ecg.main(arguments(layout, tmp_path))
    again = {path.name for path in tmp_path.glob("*.npy") if times.get(path.name) != path.stat().st_mtime_ns}
    assert again == {"records-00002.npy"}
    assert contents(tmp_path) == whole


def test_second_run_changes_nothing(layout, tmp_path, capsys):
    mimic_iv_ecg.main(arguments(layout, tmp_path))
    before = {path: (fingerprint(path), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    capsys.readouterr()
    assert mimic_iv_ecg.main(arguments(layout, tmp_path)) == 0
    out = capsys.readouterr().out
    assert "complete already; nothing to do" in out and "20 records in" in out
    assert before == {path: (fingerprint(path), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}


def test_second_run_finds_a_damaged_shard(layout, tmp_path):
    mimic_iv_ecg.main(arguments(layout, tmp_path))
    (tmp_path / "records-00001.npy").unlink()
    with pytest.raises(DataError, match="records-00001.npy: shard is missing"):
        mimic_iv_ecg.main(arguments(layout, tmp_path))


def test_other_arguments_are_refused(layout, tmp_path, whole):
    mimic_iv_ecg.main(arguments(layout, tmp_path, "--seed", "5"))
    (tmp_path / "train.labels.npy").touch()
    with pytest.raises(DataError, match="different: seed.*--overwrite"):
        mimic_iv_ecg.main(arguments(layout, tmp_path))
    with pytest.raises(DataError, match="different: records"):
        mimic_iv_ecg.main(arguments(layout, tmp_path, "--seed", "5", "--limit", "19"))
    mimic_iv_ecg.main(arguments(layout, tmp_path, "--overwrite"))
    assert contents(tmp_path) == whole


def test_a_foreign_manifest_is_not_touched(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "train.tsv").write_text("precious")
    with pytest.raises(DataError, match="unknown origin"):
        pack_made_up(made_up(2), tmp_path)
    assert (tmp_path / "m" / "train.tsv").read_text() == "precious"


def test_two_runs_at_once_are_refused(tmp_path):
    import fcntl

    (tmp_path / "m").mkdir()
    descriptor = os.open(tmp_path / "m", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(DataError, match="another run"):
        pack_made_up(made_up(2), tmp_path)
    os.close(descriptor)
    assert pack_made_up(made_up(2), tmp_path) == 0


def test_killed_worker_gives_one_clear_line_and_resumes(tmp_path):
    records = made_up(12, path=[*"abcdefg", "killer", *"ijkl"])
    with pytest.raises(DataError, match="worker process was killed.*same command again"):
        pack_made_up(records, tmp_path, jobs=2)
    assert pack_made_up(records, tmp_path, jobs=2) == 0
    assert read_json(tmp_path / "m" / "manifest.json")["counts"]["out"] == 12


def test_duplicate_ids_and_missing_reports(tmp_path):
    records = made_up(6, record_id=["a", "b", "a", "c", "a", "d"], report=["x", "", "x", "y", "x", "y"])
    pack_made_up(records, tmp_path)
    rejected = [line.split("\t") for line in (tmp_path / "m" / "rejected.tsv").read_text().splitlines()[1:]]
    assert [(r[0], r[1], r[2].split(":")[0]) for r in rejected] == [
        ("b", "r1", "report"),
        ("a", "r2", "duplicate"),
        ("a", "r4", "duplicate"),
    ]
    assert read_reports(tmp_path / "m").counts.tolist() == [1, 2]


def test_reports_may_be_missing_when_allowed(tmp_path):
    pack_made_up(made_up(3, report=["x", "", "y"], split=["train"] * 3), tmp_path, require_report=False)
    assert Manifest.open(tmp_path / "m", "train").report_ids().tolist() == [0, -1, 1]
    assert read_reports(tmp_path / "m").texts.to_pylist() == ["x", "y"]


def test_nothing_usable_fails_and_says_where_to_look(tmp_path):
    records = made_up(3, report=["", "", ""])
    for _ in range(2):
        with pytest.raises(DataError, match="no record could be used; .*/m/rejected.tsv says why"):
            pack_made_up(records, tmp_path)
        assert len((tmp_path / "m" / "rejected.tsv").read_text().splitlines()) == 4
    assert not (tmp_path / "m" / "train.tsv").exists()
    assert pack_made_up(made_up(3), tmp_path) == 0


def test_no_records_listed(tmp_path):
    with pytest.raises(DataError, match="no records listed"):
        pack_made_up(made_up(0), tmp_path)


def test_clipped_records_are_reported(tmp_path, capsys):
    ecg = make_ecg(0)
    ecg[3, :20] = 32
    records = [{"ecg": ecg, "gain": 100.0}, {}]
    write_mimic_layout(tmp_path / "r", records)
    mimic_iv_ecg.main(arguments(tmp_path / "r", tmp_path / "m"))
    assert "clipped at 32.767 mV: 0" in capsys.readouterr().out
    ecg[3, :20] = 33
    write_mimic_layout(tmp_path / "r", records)
    mimic_iv_ecg.main(arguments(tmp_path / "r", tmp_path / "m", "--overwrite"))
    assert "clipped at 32.767 mV: 1" in capsys.readouterr().out
    assert read_json(tmp_path / "m" / "store.json")["clipped_records"] == 1
    listed = (tmp_path / "m" / "implausible.tsv").read_text(encoding="utf-8")
    assert "\tclipped: 20 samples beyond ±32.767 mV in aVR, the largest 33 mV; " in listed


def test_space_is_estimated(tmp_path, monkeypatch, capsys):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 10))
    pack_made_up(made_up(2), tmp_path)
    assert "warning" in capsys.readouterr().err


def test_disk_full_is_one_line(layout, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "records-00000.npy")

    monkeypatch.setattr(os, "replace", full)
    assert cli.run(lambda: mimic_iv_ecg.main(arguments(layout, tmp_path))) == 1
    assert capsys.readouterr().err.endswith("\nerror: records-00000.npy: No space left on device\n")


def test_dest_that_is_a_file(layout, tmp_path, capsys):
    (tmp_path / "m").touch()
    assert cli.run(lambda: mimic_iv_ecg.main(arguments(layout, tmp_path / "m"))) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    "failure, code, line", [(DataError("bad\u00e4"), 1, "error: bad\u00e4"), (KeyboardInterrupt(), 130, "interrupted")]
)
def test_how_commands_end(failure, code, line, capsys):
    def main():
        raise failure

    assert cli.run(main) == code
    assert capsys.readouterr().err.strip() == line


def test_program_faults_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        cli.run(lambda: 1 // 0)


def test_splits_follow_the_subject():
    subjects = [f"s{i}" for i in range(4000)]
    names = assign_splits([*subjects, *subjects], seed=1)
    assert names[:4000] == names[4000:]
    assert names[:4000] == [split_of(s, 1) for s in subjects]
    share = names.count("train") / len(names)
    assert abs(share - 0.95) < 0.015 and names.count("valid") > 100 and names.count("test") > 100
    assert assign_splits(subjects, seed=2) != names[:4000]
    assert set(assign_splits(subjects, 1, (0.0, 1.0, 0.0))) == {"valid"}


def test_splits_do_not_change_between_versions():
    names = ["valid", "test", "valid", "valid", "train", "valid", "train", "train"]
    assert [split_of(str(subject), 1, (0.4, 0.3, 0.3)) for subject in range(8)] == names


@pytest.mark.parametrize(
    "options, message",
    [
        (["--min-seconds", "10.1"], "--min-seconds 10.1: must be between 0 and 10"),
        (["--allow-flat-leads", "13"], "--allow-flat-leads 13"),
        (["--split", "0.9", "0.9", "0"], "must not be negative and must add up to 1"),
    ],
)
def test_numbers_out_of_range_are_one_line(layout, tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        mimic_iv_ecg.main(arguments(layout, tmp_path / "m", *options))
    assert not (tmp_path / "m").exists()
