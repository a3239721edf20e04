"""The command that reads every byte."""

from __future__ import annotations

import numpy as np
import pytest
from report_texts import write_format_1

from cmelt_plugin import verify
from cmelt_plugin.data.directory.checksums import read_checksums
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.directory.replacing import replacing
from cmelt_plugin.data.directory.verification import check_directory
from cmelt_plugin.data.files import fingerprint, read_json, write_json
from cmelt_plugin.data.text.reports import read_reports, write_reports
from cmelt_plugin.data.text.statement_spans import StatementTable
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from tests.preprocess.packing.test_pack import made_up, pack_made_up
from tests.preprocess.packing.test_reuse import pack_made_up as pack_store
from tests.preprocess.packing.test_reuse import reuse_made_up
from tests.support.tiny import token_table


@pytest.fixture
def packed(tmp_path):
    pack_made_up(made_up(10), tmp_path)
    return tmp_path / "m"


def run(capsys, *arguments) -> tuple[int, list[str]]:
    capsys.readouterr()
    code = verify.main([str(argument) for argument in arguments])
    return code, capsys.readouterr().out.splitlines()


def test_a_whole_directory(packed, capsys) -> None:
    code, lines = run(capsys, packed)
    assert code == 0 and len(lines) == 1
    assert "12 files compared, 3 of them shards" in lines[0] and lines[0].endswith("0 not checkable; no finding")


def test_findings_are_lines_and_exit_code_1(packed, capsys) -> None:
    for name in ("records-00001.npy", "train.tsv", "rejected.tsv"):
        data = bytearray((packed / name).read_bytes())
        data[-3] ^= 1
        (packed / name).write_bytes(data)
    (packed / "reports.parquet").unlink()
    code, lines = run(capsys, packed)
    assert code == 1 and lines[-1].endswith("4 findings")
    for name in ("records-00001.npy", "train.tsv", "rejected.tsv", "reports.parquet"):
        assert sum(line.startswith(f"finding: {packed / name}: ") for line in lines) == 1
    assert len(lines) == 5


def test_files_without_checksum_are_named(packed, capsys) -> None:
    (packed / "train.labels.npy").write_bytes((packed / "records-00000.npy").read_bytes()[:200])
    (packed / "notes.txt").touch()
    code, lines = run(capsys, packed)
    assert code == 1  # no labels.json
    assert any(line.startswith(f"cannot be checked: {packed / 'train.labels.npy'}: without checksum") for line in lines)
    assert not any("notes.txt" in line for line in lines)


def test_a_directory_made_before_there_were_checksums(packed, capsys) -> None:
    (packed / "checksums.json").unlink()
    manifest = read_json(packed / "manifest.json")
    del manifest["checksums"], manifest["fingerprints"]["store.json"]
    write_json(packed / "manifest.json", manifest)
    code, lines = run(capsys, packed)
    assert code == 0 and lines[-1].endswith("no finding")
    assert {line.split(": ")[1].rsplit("/", 1)[1] for line in lines[:-1]} == {
        *("manifest.json", "rejected.tsv", "implausible.tsv", "store.json"),  # the others have fingerprints in manifest.json
        *(f"{split}.meta.parquet" for split in ("train", "test")),
    }
    text = (packed / "train.tsv").read_text().split("\n")
    text[1], text[2] = text[2], text[1]
    (packed / "train.tsv").write_text("\n".join(text))
    Manifest.open(packed, "train")  # opens as it always did
    assert run(capsys, packed)[0] == 1


def test_accepting_files_as_they_are(packed, capsys) -> None:
    lines = (packed / "train.tsv").read_text().splitlines()
    (packed / "train.tsv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    with pytest.raises(DataError, match="--accept train.tsv"):
        Manifest.open(packed, "train")
    (packed / "rejected.tsv").unlink()
    code, out = run(capsys, packed, "--accept", "train.tsv", "rejected.tsv")
    assert code == 0 and out == [f"{packed}: 2 files listed as they are: rejected.tsv, train.tsv"]
    Manifest.open(packed, "train")
    assert "rejected.tsv" not in read_checksums(packed)
    assert run(capsys, packed)[0] == 0
    with pytest.raises(DataError, match="holds no file typo"):
        verify.main([str(packed), "--accept", "typo"])


def test_accepting_all_of_an_older_or_damaged_directory(packed, capsys) -> None:
    before = (packed / "checksums.json").read_bytes()
    for damage in (lambda: (packed / "checksums.json").unlink(), lambda: (packed / "checksums.json").write_text("{")):
        damage()
        with pytest.raises(DataError, match=r"--accept '\*'"):
            Manifest.open(packed, "train")
        run(capsys, packed, "--accept", "*")
        assert (packed / "checksums.json").read_bytes() == before


def test_shards_keep_the_digests_of_packing_when_accepted(packed, capsys) -> None:
    data = bytearray((packed / "records-00000.npy").read_bytes())
    data[999] ^= 1
    (packed / "records-00000.npy").write_bytes(data)
    run(capsys, packed, "--accept", "*")
    code, lines = run(capsys, packed)
    assert code == 1 and lines[0].startswith(f"finding: {packed / 'records-00000.npy'}")


def test_the_store_behind_a_directory_is_read_too(tmp_path, capsys) -> None:
    pack_store(tmp_path / "s")
    reuse_made_up(tmp_path / "s", tmp_path / "m")
    assert check_directory(tmp_path / "m").shards == 3
    data = bytearray((tmp_path / "s" / "records-00002.npy").read_bytes())
    data[-1] ^= 1
    (tmp_path / "s" / "records-00002.npy").write_bytes(data)
    code, lines = run(capsys, tmp_path / "m")
    assert code == 1 and "records-00002.npy: not the bytes that were written" in lines[0]


def test_several_paths_and_none(packed, tmp_path, capsys) -> None:
    with pytest.raises(DataError, match="typo: no such file or folder"):
        verify.main([str(tmp_path / "typo")])
    with pytest.raises(DataError, match="--accept: give one manifest directory"):
        verify.main([str(tmp_path), "--accept", "x"])
    (packed / "store.json").write_text("7")
    assert run(capsys, packed, packed)[0] == 1


def test_an_array_that_is_no_labels(packed) -> None:
    np.save(packed / "train.labels.npy", np.zeros((3, 2)))
    write_json(packed / "labels.json", {"label_set": "x", "names": ["a", "b"]})
    assert any("float64 (3, 2), expected" in line for line in check_directory(packed).findings)


@pytest.mark.parametrize("listed", [True, False])
def test_statements_added_later_are_no_finding_and_places_of_former_ones_are(tmp_path, capsys, listed) -> None:
    pack_made_up(made_up(10, report=["Sinus rhythm"] * 10), tmp_path)
    packed = tmp_path / "m"
    reports = packed / "reports.parquet"
    texts, counts = read_reports(packed).texts, read_reports(packed).counts
    if not listed:
        (packed / "checksums.json").unlink()
    with replacing(packed, [reports.name]):
        write_format_1(packed, texts.to_pylist(), counts)
    if not listed:  # as the packing noted it
        manifest = read_json(packed / "manifest.json")
        del manifest["checksums"]
        manifest["fingerprints"][reports.name] = fingerprint(reports)
        write_json(packed / "manifest.json", manifest)
    spans = StatementTable.of_rows([np.array([[0, 1]])] * len(texts))
    described = token_table([[5]] * len(texts), reports)
    write_reports(packed, texts, counts, [text.split(" ", 1) for text in texts.to_pylist()])
    for statements, findings in ((None, "no finding"), (spans, "1 finding")):
        table = TokenTable(described.ids, described.offsets, described.info, statements=statements)
        table.save(packed / "reports.tiny.npz")
        code, lines = run(capsys, packed)
        assert code == (statements is not None) and lines[-1].endswith(findings)
    assert any("reports.tiny.npz: holds places of other statements than those of reports.parquet" in line for line in lines)
