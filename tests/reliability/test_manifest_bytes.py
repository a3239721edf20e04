"""Mutated manifest directories: opening and using everything, or `verify`, notices each, in one line."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import paired
from tiny import report_tokens, token_table

from cmelt_plugin.data.batches.negatives import NegativeTable
from cmelt_plugin.data.directory.checksums import CHECKSUMS_FILE, read_checksums
from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.directory.verification import check_directory
from cmelt_plugin.data.files import read_json, write_json
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.contract import Recording
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import load_prompts
from preprocess.data_sets.label_tables import attach_labels
from preprocess.packing.pack import PackingOptions, pack
from preprocess.packing.records import records_table
from preprocess.packing.reuse import reuse_store
from tests.preprocess.mimic_layout import make_ecg

N, REPORTS = 8, 3
NAMES = ["AF", "MI"]
PROMPTS = {"AF": ["atrial fibrillation"], "MI": ["infarct", "old infarct"]}


def read_made_up(path: str) -> Recording:
    return Recording(make_ecg(int(Path(path).name[1:])), list(LEADS), ["mV"] * 12, 500)


def attach(folder: Path) -> None:
    import pandas as pd

    values = np.array([[i % 2, (i // 2) % 2] for i in range(N)], dtype=np.float32)
    values[3, 1] = np.nan
    attach_labels(folder, pd.Index([f"r{i}" for i in range(N)]), values, NAMES, "made-up", PROMPTS)


def complete(directory: Path) -> None:
    """Token ids and negatives, as the commands add them."""
    texts = [report_tokens(report) for report in range(REPORTS)]
    token_table(texts, directory / "reports.parquet").save(directory / "reports.tiny.npz")
    prompts = token_table([[5, 6], [7, 8], [9]], directory / "prompts.json", class_index=np.array([0, 1, 1]))
    prompts.info["class_names"] = NAMES
    prompts.save(directory / "prompts.tiny.npz")
    for split in available_splits(directory):
        neighbours = (np.arange(REPORTS)[:, None] + [[1, 2]]) % REPORTS
        NegativeTable(neighbours.astype(np.int32), {}).save(directory, split)


@pytest.fixture(scope="module")
def directories(tmp_path_factory) -> list[Path]:
    """A packed, labelled directory with token ids and negatives, and one like it over its recordings."""
    folder = tmp_path_factory.mktemp("bytes")
    names = [f"r{i}" for i in range(N)]
    columns = {"path": names, "subject_id": names, "report": [f"text {i % REPORTS}" for i in range(N)]}
    records = records_table(record_id=names, split=["train"] * 6 + ["test"] * 2, **columns)
    common = {"data_set": "made-up", "command": "test", "notes": ["n"], "extend": attach}
    options = PackingOptions(rows_per_shard=3)
    pack(records, folder / "root", folder / "packed", options, reader=read_made_up, **common)
    reuse_store(records, folder / "packed", folder / "reused", options, **common)
    for name in ("packed", "reused"):
        complete(folder / name)
    return [folder / "packed", folder / "reused"]


def use(directory: Path) -> str:
    """Open everything and make every batch; the digest of all that was read."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, dict):
            for key in sorted(value):
                add(key)
                add(value[key])
        elif value is not None:
            digest.update(np.asarray(value).tobytes() if hasattr(value, "shape") else repr(value).encode())

    add(load_prompts(directory / "prompts.json"))
    prompts = TokenTable.load(directory / "prompts.tiny.npz", directory / "prompts.json")
    tokens = TokenTable.load(directory / "reports.tiny.npz", directory / "reports.parquet")
    for table in (prompts, tokens):
        add({"ids": table.ids, "offsets": table.offsets, "info": table.info, "classes": table.class_index})
    splits = available_splits(directory)
    add(splits)
    for split in splits:
        manifest = Manifest.open(directory, split)
        add(manifest.meta().to_pydict())
        labels, names = manifest.labels() or (None, None)  # without checksums nobody knows that there were any
        add(names)
        dataset = paired(manifest, tokens, labels=labels, n_ecg_tokens=4)
        add(dataset.collater(list(range(len(dataset)))))
    return digest.hexdigest()


def mutate(path: Path, random: np.random.Generator) -> None:
    """Change a file in one of the ways in which disks, copies and people do."""
    data = bytearray(path.read_bytes())
    kind = random.integers(10)
    place, other = (int(value) for value in sorted(random.integers(0, max(len(data), 1), 2)))
    length = int(random.integers(1, 64))
    if kind == 9:
        path.unlink()
        return
    if kind <= 2 and data:
        data[place] ^= 1 << int(random.integers(8))
    elif kind == 3 and data:
        data[place] = int(random.integers(256))
    elif kind == 4:
        del data[place:]
    elif kind == 5:
        data[place:place] = random.bytes(length)
    elif kind == 6:
        del data[place : place + length]
    elif kind == 7:
        data[place : place + 512] = bytes(len(data[place : place + 512]))
    else:
        lines = bytes(data).split(b"\n")
        first, second = (int(value) for value in random.integers(0, len(lines), 2))
        lines[first], lines[second] = lines[second], lines[first]
        data = bytearray(b"\n".join(lines)) if len(lines) > 3 else data[other:] + data[:other]
    path.write_bytes(data)


@pytest.fixture
def copies(directories, tmp_path) -> list[Path]:
    for directory in directories:
        shutil.copytree(directory, tmp_path / directory.name)
    return [tmp_path / directory.name for directory in directories]


def files_of(copies: list[Path]) -> list[Path]:
    return sorted(path for directory in copies for path in directory.iterdir())


def test_every_byte_that_changes_is_noticed(battery, copies) -> None:
    whole = [use(directory) for directory in copies]
    files = files_of(copies)
    for attack in battery("byte mutations of manifest directories", inputs=40, long=6090):
        path = files[attack.random.integers(len(files))]
        before = path.read_bytes()
        with attack:
            try:
                mutate(path, attack.random)
                if path.exists() and path.read_bytes() == before:
                    attack.expect(True, "")
                    continue
                findings = [line for directory in copies for line in check_directory(directory).findings]
                found = [use(directory) for directory in copies]
                harmless = found == whole and path.name == CHECKSUMS_FILE  # blanks in it, say
                if findings:
                    attack.refused(findings[0])
                else:
                    attack.expect(harmless, f"{path.name}: nothing noticed")
            finally:
                path.write_bytes(before)
    assert [use(directory) for directory in copies] == whole


def forget_checksums(directory: Path) -> None:
    """As directories were before there were any."""
    (directory / CHECKSUMS_FILE).unlink()
    manifest = read_json(directory / "manifest.json")
    del manifest["checksums"], manifest["fingerprints"]["store.json"]
    write_json(directory / "manifest.json", manifest)


def test_directories_without_checksums_give_no_traceback(battery, copies) -> None:
    for directory in copies:
        forget_checksums(directory)
    assert [len(check_directory(directory).findings) for directory in copies] == [0, 1]  # its manifest.json was changed
    files = [path for path in files_of(copies) if path.suffix != ".parquet"]  # Arrow may take all memory for a damaged one
    for attack in battery("byte mutations of directories without checksums", inputs=40, long=3000):
        path = files[attack.random.integers(len(files))]
        before = path.read_bytes()
        with attack:
            try:
                mutate(path, attack.random)
                for directory in copies:
                    check_directory(directory)
                use(copies[0])
                attack.expect(True, "")  # whether it is what was written cannot be known
            finally:
                path.write_bytes(before)


def swap_lines(path: Path, first: int, second: int) -> None:
    lines = path.read_text().split("\n")
    lines[first], lines[second] = lines[second], lines[first]
    path.write_text("\n".join(lines))


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_labels(directory: Path, value: float) -> None:
    labels = np.load(directory / "train.labels.npy")
    labels[2, 1] = value
    np.save(directory / "train.labels.npy", labels)


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def change_tokens(path: Path, **changes: Any) -> None:
    with np.load(path) as archive:
        np.savez(path, **{**{name: archive[name] for name in archive.files}, **changes})


DIRECTED = {
    "labels of 7": (lambda d: change_labels(d, 7), True),
    "labels of -1": (lambda d: change_labels(d, -1), True),
    "infinite labels": (lambda d: change_labels(d, np.inf), True),
    "no scale": (lambda d: change_json(d / "store.json", scale=float("nan")), True),
    "infinite scale": (lambda d: change_json(d / "store.json", scale=float("inf")), True),
    "scale of the wrong type": (lambda d: change_json(d / "store.json", scale="0.001"), True),
    "shards that are no list": (lambda d: change_json(d / "store.json", shards=7), True),
    "negative rows": (lambda d: change_json(d / "store.json", shards=[{"file": "records-00000.npy", "rows": -3}]), True),
    "a shard outside": (lambda d: change_json(d / "store.json", shards=[{"file": "../x.npy", "rows": 3}]), True),
    "a class twice": (lambda d: change_json(d / "labels.json", names=["AF", "AF"]), True),
    "a class without name": (lambda d: change_json(d / "labels.json", names=["AF", ""]), True),
    "class names that are numbers": (lambda d: change_json(d / "labels.json", names=[1, 2]), True),
    "labels.json is a list": (lambda d: (d / "labels.json").write_text("[]"), True),
    "store.json is a number": (lambda d: (d / "store.json").write_text("7"), True),
    "manifest.json is a list": (lambda d: (d / "manifest.json").write_text("[1]"), True),
    "nested too deep": (lambda d: (d / "manifest.json").write_text("[" * 10**5), True),
    "a number of 5000 digits": (lambda d: (d / "store.json").write_text("7" * 5000), True),
    "TSV in Latin-1": (lambda d: (d / "train.tsv").write_bytes(b"M\xfcller\n" + (d / "train.tsv").read_bytes()), True),
    "a NUL in the root": (lambda d: (d / "train.tsv").write_bytes(b"a\0b\n" + (d / "train.tsv").read_bytes()), True),
    "a root of 5000 letters": (lambda d: (d / "train.tsv").write_bytes(b"a" * 5000 + b"\n"), True),
    "a huge shape": (lambda d: write_header(d / "train.labels.npy", (10**9, 10**9)), True),
    "no shape at all": (lambda d: (d / "train.labels.npy").write_bytes(b"\x93NUMPY\x01\x00\x04\x00{(}["), True),
    "ids outside the vocabulary": (lambda d: change_tokens(d / "reports.tiny.npz", ids=np.full(14, 99, np.int32)), True),
    "offsets that decrease": (lambda d: change_tokens(d / "reports.tiny.npz", offsets=np.array([0, 9, 4, 14])), True),
    "broken offsets": (lambda d: change_tokens(d / "reports.tiny.npz", offsets=np.array([0, np.nan, 4, 14])), True),
    "a class that is none": (lambda d: change_tokens(d / "prompts.tiny.npz", class_index=np.array([0, 1, 5])), True),
    "reversed class names": (lambda d: change_json(d / "labels.json", names=NAMES[::-1]), True),
    "swapped lines": (lambda d: swap_lines(d / "train.tsv", 1, 2), False),
    "swapped labels": (lambda d: np.save(d / "train.labels.npy", np.load(d / "train.labels.npy")[::-1]), False),
    "a bit of a recording": (lambda d: flip(d / "records-00001.npy", 5000), None),
    "checksums deleted": (lambda d: (d / CHECKSUMS_FILE).unlink(), False),
    "labels deleted": (lambda d: (d / "train.labels.npy").unlink(), False),
}


def write_header(path: Path, shape: tuple[int, ...]) -> None:
    with open(path, "wb") as handle:
        np.lib.format.write_array_header_1_0(handle, {"descr": "<f4", "fortran_order": False, "shape": shape})


@pytest.mark.parametrize("what", DIRECTED)
def test_directed_changes(copies, what) -> None:
    """True: refused with or without checksums; False: with them; None: by `verify` alone, as nobody reads it all."""
    change, always = DIRECTED[what]
    packed = copies[0]
    change(packed)
    assert check_directory(packed).findings
    if always is None:
        use(packed)
        assert check_directory(copies[1]).findings
        return
    with pytest.raises(DataError) as refusal:
        use(packed)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("what", [what for what, (_, always) in DIRECTED.items() if always])
def test_directed_changes_without_checksums(copies, what) -> None:
    forget_checksums(copies[0])
    use(copies[0])
    DIRECTED[what][0](copies[0])
    with pytest.raises(DataError) as refusal:
        use(copies[0])
    assert "\n" not in str(refusal.value)
    assert check_directory(copies[0]).findings


def test_everything_is_listed(directories) -> None:
    for directory in directories:
        names = {path.name for path in directory.iterdir()} - {CHECKSUMS_FILE}
        assert set(read_checksums(directory)) == names
        report = check_directory(directory)
        assert (report.findings, report.unchecked) == ([], [])
        assert report.shards == 3
