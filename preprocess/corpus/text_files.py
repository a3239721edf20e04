"""Documents of plain-text and JSON-lines files, also gzipped: Wikipedia articles, guidelines, notes."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cmelt_plugin.data.corpus.documents import TEXT
from cmelt_plugin.data.files import fingerprint
from cmelt_plugin.errors import DataError
from preprocess.corpus.document import EMPTY, LONGEST, Document, read_lines, statements_of


def files_of(paths: list[Path], endings: tuple[str, ...]) -> list[Path]:
    """The files that are named, and those of the named folders that end so, in order.

    Raises:
        DataError: one is not there, or a folder has none.
    """
    found = []
    for path in paths:
        inside = sorted(file for file in path.iterdir() if file.name.endswith(endings)) if path.is_dir() else [path]
        if not inside or not all(file.is_file() for file in inside):
            what = f"no file {' or '.join('*' + ending for ending in endings)} in it" if path.is_dir() else "no such file"
            raise DataError(f"{path}: {what}")
        found += inside
    return found


def open_text(path: Path) -> IO[str]:
    """A text file in UTF-8, decompressed where it is called ``.gz``."""
    return gzip.open(path, "rt", encoding="utf-8-sig") if path.suffix == ".gz" else open(path, encoding="utf-8-sig")


@dataclass(frozen=True)
class PlainText:
    """A file whose documents are divided by empty lines. Lines and full stops divide their statements."""

    path: Path
    kind = TEXT
    endings = (".txt", ".txt.gz")

    @property
    def name(self) -> str:
        return self.path.name

    def state(self) -> list[Any]:
        return ["plain text", self.name, fingerprint(self.path)]

    def documents(self, left_out: Counter[str]) -> Iterator[Document]:
        lines: list[str] = []
        number, first, length = 0, 1, 0
        with open_text(self.path) as handle:
            for number, line in read_lines(self.path, handle):
                if line.strip():
                    first = first if lines else number
                    lines.append(line)
                    length += len(line)
                    if length > LONGEST:
                        raise DataError(
                            f"{self.path}, line {first}: no empty line within {LONGEST:,} characters; documents are divided by "
                            "empty lines"
                        )
                elif lines:
                    yield from self._document(first, lines, left_out)
                    lines, length = [], 0
        if lines:
            yield from self._document(first, lines, left_out)

    def _document(self, line: int, lines: list[str], left_out: Counter[str]) -> Iterator[Document]:
        statements = statements_of("".join(lines))
        if statements:
            name = f"{self.name}:{line}"
            yield Document(name, [name], statements)
        else:
            left_out[EMPTY] += 1


@dataclass(frozen=True)
class JsonLines:
    """A file with a JSON object a line: ``text``, and where there is one ``id`` (else the line's number is its id)."""

    path: Path
    kind = TEXT
    endings = (".jsonl", ".jsonl.gz")

    @property
    def name(self) -> str:
        return self.path.name

    def state(self) -> list[Any]:
        return ["JSON lines", self.name, fingerprint(self.path)]

    def documents(self, left_out: Counter[str]) -> Iterator[Document]:
        with open_text(self.path) as handle:
            for number, line in read_lines(self.path, handle):
                if not line.strip():
                    continue
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DataError(f"{self.path}, line {number}: not JSON ({error})") from None
                text = value.get("text") if isinstance(value, dict) else None
                if not isinstance(text, str):
                    raise DataError(f'{self.path}, line {number}: expected an object with a text, {{"id": …, "text": "…"}}')
                identity = value.get("id", number)
                if not isinstance(identity, (str, int)):
                    raise DataError(f'{self.path}, line {number}: "id" must be a text or a whole number')
                statements = statements_of(text)
                if statements:
                    name = f"{self.name}:{identity}"
                    yield Document(name, [name], statements)
                else:
                    left_out[EMPTY] += 1
