"""Headers and links that point out of the data: nothing from there is read, and no record stops the others."""

from __future__ import annotations

from cmelt_plugin.cli import run

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.prepared_ecg import prepare_ecg
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from preprocess import table
from tests.preprocess.mimic_layout import make_ecg, write_record

WAYS_OUT = {
    "parent": "../secret/secret.dat",
    "parents": "../../../../../../../../../../etc/passwd",
    "absolute": "{secret}",
    "home": "~/secret.dat",
    "here and out": "./../secret/secret.dat",
    "backslash": "..\\secret\\secret.dat",
    "address": "file://{secret}",
    "device": "/dev/zero",
    "folder": ".",
    "escape": "\x1b[2J.dat",
}


def write_files(folder: Path) -> None:
    """A good record, a secret outside the data, and a record for each way out of the data."""
    write_record(folder / "data" / "good", make_ecg(1), leads=LEADS)
    write_record(folder / "secret" / "secret", make_ecg(2), leads=LEADS)
    header = (folder / "data" / "good.hea").read_text()
    for name, target in WAYS_OUT.items():
        text = header.replace("good.dat", target.format(secret=folder / "secret" / "secret.dat"))
        (folder / "data" / f"{name}.hea").write_text(text)
    os.symlink("loop.hea", folder / "data" / "loop.hea")
    os.symlink(folder / "data", folder / "data" / "round")
    (folder / "data" / "pipe.hea").write_text(header.replace("good.dat", "pipe.dat"))
    os.mkfifo(folder / "data" / "pipe.dat")


def test_headers_cannot_name_files_elsewhere(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    write_files(tmp_path)
    names = ["good", *WAYS_OUT, "loop", "round/../../secret/../data/parent"]
    with open(tmp_path / "table.csv", "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([["path", "subject"], *([name, index] for index, name in enumerate(names))])
    arguments = ["--table", tmp_path / "table.csv", "--root", tmp_path / "data", "--dest", tmp_path / "m", "--jobs", "1"]
    options = ["--subject-column", "subject", "--allow-no-report", "--split", "1", "0", "0"]
    assert run(lambda: table.main([*map(str, arguments), *options])) == 0
    assert "Traceback" not in capfd.readouterr().err
    manifest = Manifest.open(tmp_path / "m", "train")
    assert len(manifest) == 1
    stored = RecordStore(manifest.store_root).read(manifest.shard, manifest.row)[0]
    assert np.abs(stored - make_ecg(1)).max() < 0.002
    rejected = (tmp_path / "m" / "rejected.tsv").read_text(encoding="utf-8").splitlines()[1:]
    assert len(rejected) == len(names) - 1 and all(len(line.split("\t")) == 3 for line in rejected)


@pytest.mark.parametrize("name", [*WAYS_OUT, "loop"])
def test_predict_reads_nothing_elsewhere_either(name: str, tmp_path: Path) -> None:
    write_files(tmp_path)
    with pytest.raises(DataError):
        prepare_ecg(tmp_path / "data" / name)
