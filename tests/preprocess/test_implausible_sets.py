"""Data sets whose headers lie, from the command line to the files of the manifest directory."""

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.files import read_json, write_json
from cmelt_plugin.data.readers.contract import Recording
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from preprocess import mimic_iv_ecg, physionet2021
from preprocess.packing import blocks
from preprocess.packing.pack import PackingOptions, pack, records_fingerprint
from preprocess.packing.recording import SignalOptions
from preprocess.packing.records import RECORDS_SCHEMA, records_table
from preprocess.synthetic_ecg.layouts.challenge_records import LEADS, draw, samples, write_wfdb_mat
from tests.preprocess.mimic_layout import MIMIC_LEADS, write_mimic_layout

SOURCES = {"cpsc_2018": "A", "georgia": "E", "ptb": "S"}
EACH = 11


@pytest.fixture(scope="module")
def lying(tmp_path_factory):
    """Three sources of 11 recordings: honest headers, 200 for 1000 per mV, and 1,000,000 for 1000 per mV."""
    root = tmp_path_factory.mktemp("lying")
    for index, (source, letter) in enumerate(SOURCES.items()):
        for number in range(EACH):
            path = root / source / "g1" / f"{letter}{number:04d}"
            write_wfdb_mat(path, samples(draw(3, 100 * index + number)), ["#Age: 61", "#Sex: Male", "#Dx: 426783006"])
            header = path.with_suffix(".hea")
            gain = {"cpsc_2018": "1000", "georgia": "200", "ptb": "1000000"}[source]
            header.write_text(re.sub(r" 1000/mV", f" {gain}/mV", header.read_text()))
    return root


def run(root, dest, *more):
    command = ["--task", "dx", "--sources", "all", "--root", str(root), "--dest", str(dest), "--segment-seconds", "10"]
    return physionet2021.main([*command, "--jobs", "1", "--rows-per-shard", "8", *more])


def table(path):
    with open(path, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))


def sources_of(dest):
    found = {}
    for split in available_splits(dest):
        meta = Manifest.open(dest, split).meta(["record_id", "source"])
        found.update((record, (split, source)) for record, source in zip(*(column.to_pylist() for column in meta.columns)))
    return found


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def listed(lying, tmp_path_factory):
    dest = tmp_path_factory.mktemp("listed") / "m"
    assert run(lying, dest) == 0
    return dest


def test_doubtful_recordings_are_kept_and_listed_with_their_source(lying, listed, tmp_path, capsys):
    assert run(lying, tmp_path / "m") == 0
    captured = capsys.readouterr()
    rows = table(listed / "implausible.tsv")
    sources = sources_of(listed)
    assert len(sources) == 3 * EACH and set(source for _, source in sources.values()) == set(SOURCES)
    assert {row["record_id"] for row in rows} >= {record for record, (_, source) in sources.items() if source == "ptb"}
    for row in rows:
        assert (row["split"], row["source"]) == sources[row["record_id"]] and row["source"] != "cpsc_2018"
        assert row["path"].startswith(f"{row['source']}/g1/")
    low = next(row["reasons"] for row in rows if row["source"] == "ptb")
    assert re.match(r"amplitude-low: the median lead spans 0\.00\d+ mV(, 0\.00\d as stored)?, below 0\.1 mV; quantised: ", low)

    assert f"doubtful, amplitude-low: {EACH}" in captured.out
    assert f"the doubtful recordings are kept, see {tmp_path / 'm' / 'implausible.tsv'}" in captured.out
    warnings = [line for line in captured.err.splitlines() if line.startswith("warning: source")]
    assert len(warnings) == 2
    assert "source georgia: the median of 11" in warnings[0] and "too large (likely 5: gains of 200 and 1000" in warnings[0]
    assert "source ptb: the median of 11" in warnings[1] and "too small (likely 1,000: " in warnings[1]
    manifest = read_json(listed / "manifest.json")["plausibility"]
    assert [f"warning: {text}" for text in manifest["warnings"]] == warnings
    assert manifest["sources"]["cpsc_2018"]["reasons"] == {} and manifest["sources"]["ptb"]["doubtful"] == EACH
    assert "implausible.tsv" in read_json(listed / "checksums.json")["files"]
    assert run(lying, listed) == 0
    captured = capsys.readouterr()
    assert "complete already" in captured.out and "warning: source ptb" in captured.err


def test_keep_counts_and_reject_leaves_out(lying, listed, tmp_path, capsys):
    doubtful = {row["record_id"]: row["reasons"] for row in table(listed / "implausible.tsv")}
    run(lying, tmp_path / "keep", "--implausible", "keep")
    assert not (tmp_path / "keep" / "implausible.tsv").exists() and sources_of(tmp_path / "keep") == sources_of(listed)
    capsys.readouterr()
    run(lying, tmp_path / "reject", "--implausible", "reject")
    captured = capsys.readouterr()
    assert f"rejected, implausible: {len(doubtful)}" in captured.out and "warning: source ptb" in captured.err
    rejected = {row["record_id"]: row["reason"] for row in table(tmp_path / "reject" / "rejected.tsv")}
    assert rejected == {record: f"implausible: {reasons}" for record, reasons in doubtful.items()}
    assert set(sources_of(tmp_path / "reject")) == set(sources_of(listed)) - set(doubtful)
    folders = (listed, tmp_path / "keep", tmp_path / "reject")
    manifests = [read_json(folder / "manifest.json")["plausibility"] for folder in folders]
    assert manifests[0] == manifests[1] == manifests[2]
    with pytest.raises(DataError, match="different: signal"):
        run(lying, tmp_path / "reject")


def test_a_store_passes_on_what_is_doubtful(lying, listed, tmp_path, capsys):
    doubtful = {row["record_id"]: row["reasons"] for row in table(listed / "implausible.tsv")}
    run(lying, tmp_path / "list", "--store", str(listed))
    captured = capsys.readouterr()
    assert table(tmp_path / "list" / "implausible.tsv") == table(listed / "implausible.tsv")
    assert "warning: source ptb" in captured.err and f"amplitude-low: {EACH}" in captured.out
    assert sources_of(tmp_path / "list") == sources_of(listed)
    run(lying, tmp_path / "reject", "--store", str(listed), "--implausible", "reject")
    rejected = {row["record_id"]: row["reason"] for row in table(tmp_path / "reject" / "rejected.tsv")}
    assert rejected == {record: f"implausible: {reasons}" for record, reasons in doubtful.items()}
    assert set(sources_of(tmp_path / "reject")) == set(sources_of(listed)) - set(doubtful)
    run(lying, tmp_path / "keep", "--implausible", "keep")
    with pytest.raises(DataError, match="does not list its doubtful recordings"):
        run(lying, tmp_path / "no", "--store", str(tmp_path / "keep"), "--implausible", "reject")


def test_a_changed_list_is_refused(lying, listed, tmp_path):
    shutil.copytree(listed, tmp_path / "m")
    path = tmp_path / "m" / "implausible.tsv"
    path.write_text(path.read_text(encoding="utf-8").replace("ptb", "xyz", 1), encoding="utf-8")
    with pytest.raises(DataError, match="implausible.tsv: changed since it was written"):
        run(lying, tmp_path / "no", "--store", str(tmp_path / "m"))


def test_counts_survive_a_killed_run(lying, listed, tmp_path, monkeypatch):
    real, calls = blocks.to_row, []

    def stopped(recording, options):
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return real(recording, options)

    monkeypatch.setattr(blocks, "to_row", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(lying, tmp_path / "m")
    monkeypatch.setattr(blocks, "to_row", real)
    assert len(list((tmp_path / "m" / ".packing").glob("records-*.json"))) == 2
    # A block of a version that measured nothing is packed again.
    older = tmp_path / "m" / ".packing" / "records-00000.json"
    write_json(older, {key: value for key, value in read_json(older).items() if key not in ("measured", "doubts")})
    run(lying, tmp_path / "m")
    assert contents(tmp_path / "m") == contents(listed)


def test_directories_made_before_are_complete_still(lying, listed, tmp_path, capsys):
    shutil.copytree(listed, tmp_path / "m")
    for name in ("implausible.tsv", "checksums.json"):
        (tmp_path / "m" / name).unlink()
    manifest = read_json(tmp_path / "m" / "manifest.json")
    del manifest["plausibility"], manifest["checksums"]
    assert set(manifest["arguments"]["signal"]) == {"min_seconds", "allow_flat_leads", "crop"}
    write_json(tmp_path / "m" / "manifest.json", manifest)
    assert run(lying, tmp_path / "m") == 0
    assert "complete already" in capsys.readouterr().out
    run(lying, tmp_path / "reuse", "--store", str(tmp_path / "m"))
    assert not (tmp_path / "reuse" / "implausible.tsv").exists()


def test_the_source_is_no_part_of_the_fingerprint():
    columns = {"record_id": ["a"], "path": ["a"], "subject_id": ["s"]}
    without, with_source = records_table(**columns), records_table(**columns, source=["x"])
    assert without.column_names == RECORDS_SCHEMA.names and with_source.column_names == [*RECORDS_SCHEMA.names, "source"]
    assert records_fingerprint(without) == records_fingerprint(with_source)


def test_a_mimic_layout_with_every_fault(tmp_path, capsys):
    order = [LEADS.index(lead) for lead in MIMIC_LEADS]

    def ecg(number):
        return samples(draw(5, number)).astype(np.float64)[order]

    spiked, inverted, capped, offset = ecg(4), ecg(5), ecg(6), ecg(8)
    spiked[7, 100:110] = 40
    inverted[MIMIC_LEADS.index("aVR")] *= -1
    capped[9] = np.minimum(capped[9], np.quantile(capped[9], 0.8))
    offset[2] += 6
    hum = np.zeros((12, 5000))
    hum[6:] = 0.5 * np.sin(2 * np.pi * 60 * np.arange(5000) / 500)
    faults = {
        "good": {"ecg": ecg(1)},
        "clipped": {"ecg": spiked, "gain": 200.0},
        "lead-relations": {"ecg": inverted},
        "saturated": {"ecg": capped},
        "mains": {"ecg": ecg(7) + hum},
        "offset": {"ecg": offset},
        "amplitude-high": {"ecg": 5 * ecg(9)},
        "amplitude-low": {"ecg": ecg(10) / 200, "gain": 1e6},
        "zero": {"ecg": ecg(11) * 1e-5, "gain": 1e8},
        "dc": {"ecg": ecg(12) + 1000, "gain": 20.0},
        "dc-of-a-lead": {"ecg": ecg(13) + np.eye(12)[:, 3:4] * 1000, "gain": 20.0},
        "volts": {"ecg": ecg(14), "unit": "V"},
    }
    for number, fault in enumerate(faults.values()):
        fault["study_id"] = 40000000 + number
    write_mimic_layout(tmp_path / "r", list(faults.values()))
    names = {str(fault["study_id"]): name for name, fault in faults.items()}
    assert mimic_iv_ecg.main(["--root", str(tmp_path / "r"), "--dest", str(tmp_path / "m"), "--jobs", "1"]) == 0
    listed = {names[row["record_id"]]: row["reasons"] for row in table(tmp_path / "m" / "implausible.tsv")}
    rejected = {names[row["record_id"]]: row["reason"] for row in table(tmp_path / "m" / "rejected.tsv")}
    expected = ["clipped", "lead-relations", "saturated", "mains", "offset", "amplitude-high", "amplitude-low"]
    assert list(listed) == expected
    assert all(reasons.startswith(name) for name, reasons in listed.items())
    assert "10 samples beyond ±32.767 mV in V2, the largest 40 mV" in listed["clipped"]
    assert "aVR inverted they would agree" in listed["lead-relations"]
    assert {name: reason.split(":")[0] for name, reason in rejected.items()} == {
        "zero": "zero",
        "dc": "clipped",
        "dc-of-a-lead": "flat",
        "volts": "clipped",
    }
    assert "after rounding to 0.001 mV" in rejected["zero"] and "take off the offset" in rejected["dc"]
    assert rejected["dc-of-a-lead"] == "flat: constant in aVR after rounding to 0.001 mV and clipping"
    assert "are unit and gain right?" in rejected["volts"]
    stored = RecordStore(tmp_path / "m")
    assert not np.isin(np.abs(stored.read_digital(np.zeros(8, int), np.arange(8))).max(axis=2), 0).any()


def read_low(path):
    return Recording(samples(draw(3, int(Path(path).name))) * 1e-6, LEADS, ["mV"] * 12, 500.0)


def test_a_set_of_which_nothing_is_left_is_warned_about(tmp_path, capsys):
    numbers = [str(number) for number in range(12)]
    records = records_table(record_id=numbers, path=numbers, subject_id=numbers)
    options = PackingOptions(require_report=False, signal=SignalOptions(allow_flat_leads=11))
    with pytest.raises(DataError, match="no record could be used"):
        pack(records, tmp_path, tmp_path / "m", options, data_set="low", command="test", reader=read_low)
    captured = capsys.readouterr()
    assert "rejected, zero: 12" in captured.out
    assert "warning: low: the median of 12 recordings spans 1." in captured.err and "(likely 1,000,000: volts" in captured.err
