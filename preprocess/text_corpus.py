"""A corpus of cardiology texts to train a language model on: reports of training records, files of texts, PubMed.

Writes train.documents.parquet, valid.documents.parquet and corpus.json into a folder. Reports are those of training records
alone; what a record of another split says, or an evaluation set (--exclude), is in no document, whatever file it comes from.
Equal and nearly equal texts are kept once. Held out for validation are whole subjects' reports, and whole documents. A killed
run goes on where it stopped. Then: python preprocess/tokenizer.py --corpus DEST --tokenizer NAME
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import hashlib
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cmelt_plugin import option_types
from cmelt_plugin.data.corpus.documents import CORPUS_FILE, SPLITS, read_description
from cmelt_plugin.data.directory.replacing import directory_lock
from cmelt_plugin.errors import DataError
from cmelt_plugin.tables import markdown
from cmelt_plugin.version import __version__
from preprocess.corpus.document import Source
from preprocess.corpus.duplicates import Duplicates, library
from preprocess.corpus.parts import WORK_FOLDER, Part, read_part
from preprocess.corpus.pubmed import TOPICS, PubMedFile
from preprocess.corpus.reports import HELD_OUT, TrainingReports, all_texts, check_no_evaluation_set, held_out_texts
from preprocess.corpus.text_files import JsonLines, PlainText, files_of
from preprocess.corpus.writing import ReadSource, is_own_file, remove_leftovers, write_corpus
from preprocess.packing.engines import Engine, add_engine_arguments, engine_from

EVALUATION_SET = "text of an evaluation set"
EXAMPLE = """examples:
  python preprocess/text_corpus.py --dest corpora/heart --manifest manifests/mimic-iv-ecg --pubmed pubmed/ \\
      --json-lines wikipedia.jsonl.gz --exclude manifests/ptb-xl-super manifests/code-test --jobs 8
  python preprocess/text_corpus.py --dest corpora/small --manifest manifests/synthetic --accept-labelled
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = result.add_argument
    add("--dest", type=Path, required=True, help="folder of the corpus")
    add(
        "--manifest", type=Path, nargs="+", default=[], metavar="DIR", help="manifest directories: reports of their train split"
    )
    add(
        "--json-lines", type=Path, nargs="+", default=[], metavar="PATH", help='.jsonl files or folders: {"id": …, "text": "…"}'
    )
    add("--text", type=Path, nargs="+", default=[], metavar="PATH", help=".txt files or folders; empty lines divide documents")
    add("--pubmed", type=Path, nargs="+", default=[], metavar="PATH", help="PubMed's .xml.gz files or folders of them")
    add("--topics", nargs="*", default=list(TOPICS), metavar="TEXT", help="what PubMed citations must be about; none: all")
    add("--exclude", type=Path, nargs="+", default=[], metavar="DIR", help="evaluation sets, whose texts must not be in it")
    add("--accept-labelled", action="store_true", help="labelled --manifest directories are no evaluation sets")
    add("--valid-share", type=option_types.share, default=0.02, help="share of subjects and documents held out (0.02)")
    add("--near-duplicates", type=option_types.share, default=0.8, metavar="J", help="Jaccard index of near-duplicates (0.8)")
    add("--seed", type=option_types.seed, default=1, help="of the choice of what is held out (1)")
    add("--jobs", type=option_types.count, default=1, help="files read at a time (1)")
    add_engine_arguments(result)
    add("--overwrite", action="store_true", help="replace a corpus of other texts or settings")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = parser().parse_args(argv)
    engine = engine_from(arguments)
    check_no_evaluation_set(arguments.manifest, arguments.accept_labelled)
    sources = sources_of(arguments)
    excluded = all_texts(arguments.exclude)
    plan = {
        "sources": [source.state() for source in sources],
        "excluded": hashlib.sha256(b"".join(sorted(excluded))).hexdigest() if excluded else None,
        "valid_share": arguments.valid_share,
        "near_duplicates": arguments.near_duplicates,
        "seed": arguments.seed,
    }
    corpus = known_corpus(arguments.dest, plan, arguments.overwrite)
    if corpus is None:
        refused = dict.fromkeys(held_out_texts(arguments.manifest), HELD_OUT)
        refused.update(dict.fromkeys(excluded, EVALUATION_SET))
        with directory_lock(arguments.dest):
            remove_leftovers(arguments.dest)
            read = read_sources(sources, arguments, engine)
            duplicates = Duplicates(refused, arguments.near_duplicates, arguments.dest / WORK_FOLDER)
            corpus = write_corpus(arguments.dest, read, duplicates, plan, **about(argv))
    else:
        print(f"{arguments.dest}: up to date")
    shutil.rmtree(arguments.dest / WORK_FOLDER, ignore_errors=True)
    print_counts(corpus)
    if not corpus["splits"]["train"]["documents"]:
        raise DataError(f"{arguments.dest}: no document is left to train on")
    return 0


def known_corpus(dest: Path, plan: dict[str, Any], overwrite: bool) -> dict[str, Any] | None:
    """The description of a corpus that is there already; None: it is to be made, or the making goes on.

    Raises:
        DataError: the folder holds another corpus and is not to be overwritten, or something else.
    """
    foreign = [path.name for path in dest.iterdir() if not is_own_file(path.name)] if dest.is_dir() else []
    if foreign:
        raise DataError(f"{dest}: holds {min(foreign)}, which this command did not write; choose another --dest")
    if not (dest / CORPUS_FILE).is_file():
        return None
    corpus = read_description(dest)
    if corpus["arguments"] == plan:
        return corpus
    if not overwrite:
        raise DataError(f"{dest}: holds a corpus of other texts or settings; --overwrite replaces it")
    return None


def read_sources(sources: Sequence[Source], arguments: argparse.Namespace, engine: Engine) -> list[ReadSource]:
    """The documents of all sources, in their order; those that an earlier run has read are not read again."""
    work = arguments.dest / WORK_FOLDER
    work.mkdir(exist_ok=True)
    parts = [Part(source, work, arguments.valid_share, arguments.seed) for source in sources]
    read: dict[int, ReadSource] = {}
    with tqdm(total=len(parts), desc="reading", unit="source") as bar:

        def done(result: tuple[int, Path, dict[str, Any]]) -> None:
            number, path, counts = result
            read[number] = ReadSource(sources[number].kind, sources[number].name, path, counts)
            bar.update()

        engine.run(read_part, list(enumerate(parts)), done)
    return [read[number] for number in range(len(parts))]


def sources_of(arguments: argparse.Namespace) -> list[Source]:
    """All sources, in the order in which the first of several equal texts is kept.

    Raises:
        DataError: there is none, one is not there, or two have the same name.
    """
    directories = tuple(arguments.manifest)
    sources: list[Source] = [TrainingReports(directory, directories) for directory in directories]
    sources += [JsonLines(path) for path in files_of(arguments.json_lines, JsonLines.endings)]
    sources += [PlainText(path) for path in files_of(arguments.text, PlainText.endings)]
    topics = tuple(topic.lower() for topic in arguments.topics)
    sources += [PubMedFile(path, topics) for path in files_of(arguments.pubmed, PubMedFile.endings)]
    if not sources:
        raise DataError("no texts: give at least one of --manifest, --json-lines, --text and --pubmed")
    names = [source.name for source in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"two sources are called {twice}, by which their documents are known; rename one")
    return sources


def about(argv: Sequence[str] | None) -> dict[str, str]:
    """How the corpus was made, for people."""
    words = sys.argv[1:] if argv is None else argv
    command = shlex.join(["preprocess/text_corpus.py", *words])
    return {"command": command, "plugin_version": __version__, "datasketch": str(library().__version__)}


def print_counts(corpus: dict[str, Any]) -> None:
    """What became of the documents of every source, as a table."""
    rows = [(one["name"], one) for one in corpus["sources"]]
    if len(rows) > 20:  # hundreds of files of PubMed's
        rows = []
    rows.append(("all", corpus["counts"]))
    reasons = sorted(corpus["counts"]["left_out"])
    counts = [[name, one["in"], *one["out"].values(), *(one["left_out"].get(why, 0) for why in reasons)] for name, one in rows]
    head = ["source", "documents", *SPLITS, *reasons]
    print(markdown(head, [[row[0], *(f"{number:,}" for number in row[1:])] for row in counts]))
    for split, numbers in corpus["splits"].items():
        print(f"{split}: " + ", ".join(f"{number:,} {name}" for name, number in numbers.items()))
    if not corpus["splits"]["valid"]["documents"]:
        print("valid: with so few documents nothing is held out; a larger --valid-share does, or train without validation")


if __name__ == "__main__":
    sys.exit(run(main))
