"""Texts that a corpus holds already, word by word or nearly so, and texts it must not hold.

Near-duplicates are texts whose sets of three words in a row have a Jaccard index of at least the threshold. MinHash (Broder
1997) with locality-sensitive hashing, through datasketch, finds candidates; among these the index is computed, not estimated:
reports are made of few formulas, and among thousands of similar ones an estimate would often be wrong.
"""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmelt_plugin.data.text.reports import normalise_report
from cmelt_plugin.errors import DataError
from preprocess.corpus.document import text_digest

SAME_ID, DUPLICATE, NEAR = "id occurs before", "duplicate", "near-duplicate"
WORDS = 3
PERMUTATIONS = 128


def library() -> Any:
    """datasketch.

    Raises:
        DataError: it is not installed.
    """
    try:
        import datasketch
    except ImportError:
        raise DataError("near-duplicates need datasketch: pip install 'cmelt-plugin[language]'") from None
    return datasketch


class Duplicates:
    """The texts seen so far.

    Args:
        refused: digest of a text that must not be in the corpus → why.
        threshold: Jaccard index from which on two texts are near-duplicates, above 0 and up to 1.
        folder: for a temporary file; the words of all texts need not fit into memory.
    """

    def __init__(self, refused: Mapping[bytes, str], threshold: float, folder: Path):
        datasketch = library()
        self.refused, self.threshold = refused, threshold
        self.names: set[int] = set()
        self.digests: set[bytes] = set()
        self.empty = datasketch.MinHash(PERMUTATIONS, hashfunc=int)
        self.index = datasketch.MinHashLSH(threshold, PERMUTATIONS)
        self.file = tempfile.TemporaryFile(dir=folder)
        self.places = array("q", [0])  # where the words of each text end in the file

    def reason(self, name: str, statements: Sequence[str]) -> str | None:
        """Why a document must be left out; None where it is new, and known from now on."""
        number = _number(name.encode("utf-8", "surrogatepass"))
        if number in self.names:
            return SAME_ID
        digest = text_digest(statements)
        if digest in self.refused:
            return self.refused[digest]
        if digest in self.digests:
            return DUPLICATE
        shingles = shingles_of(normalise_report(" ".join(statements)))
        hashed = self.empty.copy()
        hashed.update_batch(shingles.tolist())
        if any(self._is_near(shingles, candidate) for candidate in self.index.query(hashed)):
            return NEAR
        self.names.add(number)
        self.digests.add(digest)
        self.index.insert(len(self.places) - 1, hashed, check_duplication=False)
        self.file.seek(self.places[-1])
        self.file.write(shingles.tobytes())
        self.places.append(self.file.tell())
        return None

    def _is_near(self, shingles: np.ndarray, candidate: int) -> bool:
        start, stop = self.places[candidate : candidate + 2]
        shorter, longer = sorted(((stop - start) // shingles.itemsize, len(shingles)))
        if shorter < self.threshold * longer:
            return False
        self.file.seek(start)
        other = np.frombuffer(self.file.read(stop - start), dtype=shingles.dtype)
        common = len(np.intersect1d(shingles, other, assume_unique=True))
        return common >= self.threshold * (shorter + longer - common)


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def shingles_of(text: str) -> np.ndarray:
    """Numbers of the different runs of three words in a text, of its words where it has fewer: uint32, sorted."""
    words = text.split()
    runs = [" ".join(words[start : start + WORDS]) for start in range(max(len(words) - WORDS + 1, 1))]
    return np.unique(np.array([zlib.crc32(run.encode("utf-8", "surrogatepass")) for run in runs], dtype=np.uint32))
