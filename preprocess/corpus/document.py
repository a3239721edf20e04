"""What every source of a corpus gives: documents, and why others were left out."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from cmelt_plugin.data.text.reports import normalise_report
from cmelt_plugin.data.text.sentences import split_statements
from cmelt_plugin.errors import DataError

LONGEST = 1 << 24
"""Characters of a document; what is longer is no document but a file of another form."""
EMPTY = "empty"


class Document(NamedTuple):
    """A text.

    Attributes:
        name: unique in the corpus.
        units: of whom or what it is. A document is held out for validation where all its units are.
        statements: one or more.
    """

    name: str
    units: Sequence[str]
    statements: Sequence[str]


class Source(Protocol):
    """Where documents come from. Picklable, for workers."""

    @property
    def kind(self) -> str:
        """One of :data:`cmelt_plugin.data.corpus.documents.KINDS`."""

    @property
    def name(self) -> str:
        """For people, and how its documents' names begin."""

    def state(self) -> list[Any]:
        """Plain values that differ wherever its documents may."""

    def documents(self, left_out: Counter[str]) -> Iterator[Document]:
        """The documents in order; what is left out is counted by reason."""


def statements_of(text: str) -> list[str]:
    """The statements of a text in ordinary spelling, blanks squeezed."""
    return [" ".join(piece.split()) for piece in split_statements(unicodedata.normalize("NFC", text))]


def text_digest(statements: Iterable[str]) -> bytes:
    """By which equal texts are known, whatever their case and punctuation: 16 bytes."""
    return hashlib.blake2b(normalise_report(" ".join(statements)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def is_held_out(units: Iterable[str], share: float, seed: int) -> bool:
    """Whether all ``units`` are among the ``share`` of units that are for validation; which are depends on ``seed`` alone."""
    return all(_position(unit, seed) < share for unit in units)


def _position(unit: str, seed: int) -> float:
    digest = hashlib.blake2b(f"{seed} {unit}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def read_lines(path: Path, handle: IO[str]) -> Iterator[tuple[int, str]]:
    """Numbered lines of a file of texts.

    Raises:
        DataError: a line is longer than any document, the file is not UTF-8, or its compression is damaged.
    """
    number = 0
    while True:
        try:
            line = handle.readline(LONGEST + 1)
        except (UnicodeDecodeError, EOFError, OSError, ValueError) as error:
            raise DataError(f"{path}, after line {number}: cannot be read as UTF-8 text ({error}); copy it again") from None
        if not line:
            return
        number += 1
        if len(line) > LONGEST:
            raise DataError(f"{path}, line {number}: longer than {LONGEST:,} characters; this is no file of documents")
        yield number, line
