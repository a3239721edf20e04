"""preprocess/text_corpus.py: what is in a corpus, what is not and why, and going on after a kill."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path

import pytest

pytest.importorskip("datasketch", reason="pip install 'cmelt-plugin[language]'")
pytest.importorskip("defusedxml", reason="pip install 'cmelt-plugin[language]'")

from cmelt_plugin.data.corpus.documents import SPLITS, documents_path, read_description, read_documents  # noqa: E402
from cmelt_plugin.data.directory.checksums import read_checksums  # noqa: E402
from cmelt_plugin.errors import DataError  # noqa: E402
from preprocess import text_corpus as command  # noqa: E402
from preprocess.corpus.parts import WORK_FOLDER  # noqa: E402
from tests.preprocess.corpus.test_pubmed import citation, write  # noqa: E402
from tests.preprocess.corpus.test_reports import TEXTS, write_manifest  # noqa: E402
from tests.preprocess.packing.test_swap import killed_at  # noqa: E402


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """Two manifest directories, JSON lines, a text file and two files of PubMed's; not to be changed."""
    folder = tmp_path_factory.mktemp("sources")
    train = [(f"s{number}", number % 5) for number in range(40)]
    write_manifest(folder / "ecgs", {"train": train, "valid": [("v", 5)], "test": [("t", 1)]})
    write_manifest(folder / "downstream", {"test": [("d", 0), ("e", 1)]}, texts=[TEXTS[3], TEXTS[6]])
    with gzip.open(folder / "wiki.jsonl.gz", "wt") as handle:
        lines = [{"id": n, "text": f"Article {n} is about the heart number {100 + n * n}. It has valves."} for n in range(60)]
        lines += [{"id": "leak", "text": "Flutter!"}, {"id": "also", "text": "PAUSE."}, {"id": 3, "text": "Once more"}]
        handle.write("\n".join(map(json.dumps, lines)))
    (folder / "notes.txt").write_text(
        "Normal\nECG.\n\nA note of its own.\n\nArticle 7 is about the heart number 149. It has valves"
    )
    (folder / "pubmed").mkdir()
    for name, first in (("a.xml.gz", 0), ("b.xml.gz", 4)):
        citations = [citation(first + n, f"Heart {first + n}.", "Its abstract.") for n in range(5)]  # number 4 in both
        write(folder / "pubmed" / name, *citations, citation(99, "Kidneys.", "Of mice."))
    return folder


def arguments(sources: Path, dest: Path) -> list[str]:
    return [
        *("--dest", str(dest), "--manifest", str(sources / "ecgs"), "--exclude", str(sources / "downstream")),
        *("--json-lines", str(sources / "wiki.jsonl.gz"), "--text", str(sources / "notes.txt")),
        *("--pubmed", str(sources / "pubmed"), "--valid-share", "0.2"),
    ]


@pytest.fixture(scope="module")
def corpus(sources: Path, tmp_path_factory) -> Path:
    dest = tmp_path_factory.mktemp("corpus") / "c"
    assert command.main(arguments(sources, dest)) == 0
    return dest


def documents(corpus: Path, split: str) -> dict[str, list[str]]:
    batches = [batch.to_pylist() for batch in read_documents(corpus, split)]
    return {row["document"]: row["statements"] for batch in batches for row in batch}


def every_document(corpus: Path) -> dict[str, list[str]]:
    return {**documents(corpus, "train"), **documents(corpus, "valid")}


def test_counts_in_are_counts_out_and_left_out_by_reason(corpus: Path) -> None:
    described = read_description(corpus)
    counts = described["counts"]
    assert counts["left_out"] == {
        "duplicate": 2,  # the notes "Normal ECG" and about article 7
        "id occurs before": 2,  # article 3, citation 4
        "of no training record": 2,  # reports 5 and 6
        "other topic": 2,
        "text of a valid or test record": 2,  # report 1, the article "PAUSE."
        "text of an evaluation set": 2,  # report 3, the article "Flutter!"
    }
    for one in [counts, *described["sources"]]:
        assert one["in"] == sum(one["out"].values()) + sum(one["left_out"].values())
    assert {split: described["splits"][split]["documents"] for split in SPLITS} == counts["out"]
    assert [one["name"] for one in described["sources"]] == ["ecgs", "wiki.jsonl.gz", "notes.txt", "a.xml.gz", "b.xml.gz"]
    for split in SPLITS:
        found = documents(corpus, split)
        numbers = described["splits"][split]
        assert len(found) == numbers["documents"] > 0
        assert sum(map(len, found.values())) == numbers["statements"]
        assert sum(len(" ".join(statements).split()) for statements in found.values()) == numbers["words"]
    assert not documents(corpus, "train").keys() & documents(corpus, "valid").keys()
    assert read_checksums(corpus).keys() == {documents_path(corpus, split).name for split in SPLITS}


def test_nothing_of_evaluation_is_in_it(corpus: Path, sources: Path, tmp_path: Path) -> None:
    every = every_document(corpus)
    assert "notes.txt:4" in every
    assert every["wiki.jsonl.gz:5"] == ["Article 5 is about the heart number 125.", "It has valves."]
    said = {" ".join(statements).lower().rstrip(".!") for statements in every.values()}
    assert said & set(TEXTS) == {TEXTS[report] for report in (0, 2, 4)}
    assert command.main(["--dest", str(tmp_path / "d"), "--manifest", str(sources / "ecgs")]) == 0
    kept = documents(tmp_path / "d", "train")  # with five documents nothing is held out
    assert {" ".join(statements) for statements in kept.values()} == {TEXTS[report] for report in (0, 2, 3, 4)}


def test_the_same_command_finds_its_corpus_and_other_settings_need_overwrite(
    corpus: Path, sources: Path, tmp_path: Path, capsys
) -> None:
    dest = tmp_path / "c"
    command.main(arguments(sources, dest))
    for split in SPLITS:
        assert documents_path(dest, split).read_bytes() == documents_path(corpus, split).read_bytes()
    capsys.readouterr()
    before = {path.name: path.stat().st_mtime_ns for path in dest.iterdir()}
    assert command.main(arguments(sources, dest)) == 0
    assert "up to date" in capsys.readouterr().out
    assert {path.name: path.stat().st_mtime_ns for path in dest.iterdir()} == before
    with pytest.raises(DataError, match="holds a corpus of other texts or settings"):
        command.main([*arguments(sources, dest), "--seed", "2"])
    assert command.main([*arguments(sources, dest), "--seed", "2", "--overwrite", "--jobs", "2"]) == 0
    assert documents(dest, "valid").keys() != documents(corpus, "valid").keys()
    assert every_document(dest) == every_document(corpus)


def test_the_same_command_goes_on_wherever_it_was_killed(corpus: Path, sources: Path, tmp_path: Path) -> None:
    operation = 1
    while True:
        dest = tmp_path / str(operation)
        killed = killed_at(operation, functools.partial(command.main, arguments(sources, dest)))
        assert command.main(arguments(sources, dest)) == 0
        assert every_document(dest) == every_document(corpus)
        assert {path.name for path in dest.iterdir()} == {path.name for path in corpus.iterdir()}
        if not killed:
            break
        operation += 5
    assert operation > 10


def test_sources_that_were_read_are_not_read_again(sources: Path, tmp_path: Path, monkeypatch) -> None:
    dest = tmp_path / "c"

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(command, "write_corpus", fail)
        with pytest.raises(KeyboardInterrupt):
            command.main(arguments(sources, dest))
    assert len(list((dest / WORK_FOLDER).glob("*.parquet"))) == 5
    monkeypatch.setattr("preprocess.corpus.pubmed.read_citations", fail)
    assert command.main(arguments(sources, dest)) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no texts: give at least one of"),
        (["--text", "notes.txt", "notes.txt"], "two sources are called notes.txt"),
        (["--manifest", "downstream"], "no training split"),
        (["--pubmed", "nowhere.xml"], "no such file"),
    ],
)
def test_what_cannot_make_a_corpus_is_refused(sources: Path, tmp_path: Path, options: list[str], message: str) -> None:
    words = [option if option.startswith("--") else str(sources / option) for option in options]
    with pytest.raises(DataError, match=message):
        command.main(["--dest", str(tmp_path / "d"), *words])


def test_a_folder_of_other_things_is_left_alone(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    for more in ([], ["--overwrite"]):
        with pytest.raises(DataError, match="holds thesis.txt, which this command did not write"):
            command.main([*arguments(sources, tmp_path), *more])
    assert (tmp_path / "thesis.txt").read_text() == "precious"
