"""Citations of PubMed about the heart, from XML as its baseline files have it (``pubmed24n0001.xml.gz``).

https://www.nlm.nih.gov/databases/download/pubmed_medline.html and the DTD named there. A file is 20 to 30 MB of gzip and ten
times that unpacked, so it is read citation by citation. A citation's document is its title and abstract.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from cmelt_plugin.data.corpus.documents import PUBMED
from cmelt_plugin.data.files import fingerprint
from cmelt_plugin.errors import DataError
from preprocess.corpus.document import Document, statements_of

TOPICS = (
    *("cardi", "heart", "coronary", "arrhythm", "atrial", "atrioventricular", "fibrillation", "electrocardiogra"),
    *("bundle-branch", "bundle branch", "pacemaker", "long qt"),
)
"""A citation is about the heart where its title, its journal, a MeSH heading or a keyword holds one of these."""
LONGEST_CITATION = 1 << 25
"""Bytes of XML; the longest citations, with thousands of authors and references, have a few million."""
RETRACTED = ("D016441", "D016440")
"""MeSH numbers of the publication types Retracted Publication and Retraction of Publication."""
ROOT = "PubmedArticleSet"
_TRANSLATED = re.compile(r"\[(.+)\]\.?")


@dataclass(frozen=True)
class PubMedFile:
    """A file of PubMed's.

    Attributes:
        path: XML, or gzipped XML.
        topics: in lower case; none: every citation is taken.
    """

    path: Path
    topics: tuple[str, ...] = TOPICS
    kind = PUBMED
    endings = (".xml", ".xml.gz")

    @property
    def name(self) -> str:
        return self.path.name

    def state(self) -> list[Any]:
        return ["PubMed", fingerprint(self.path), list(self.topics)]

    def documents(self, left_out: Counter[str]) -> Iterator[Document]:
        for citation in read_citations(self.path):
            article = citation.find("Article")
            if article is None:
                left_out["no article"] += 1
                continue
            title, parts = _text(article.find("ArticleTitle")), article.findall("Abstract/AbstractText")
            abstract = [_text(part) for part in parts]
            if any(kind.get("UI") in RETRACTED for kind in article.iter("PublicationType")):
                left_out["retracted"] += 1
            elif not any(abstract):
                left_out["no abstract"] += 1
            elif not self._is_on_topic(title, article, citation):
                left_out["other topic"] += 1
            else:
                name = f"pubmed:{(citation.findtext('PMID') or '').strip()}"
                translated = _TRANSLATED.fullmatch(title)
                texts = [f"{translated[1]}." if translated else title, *abstract]
                statements = [statement for text in texts for statement in statements_of(text)]
                if statements:
                    yield Document(name, [name], statements)
                else:
                    left_out["no abstract"] += 1

    def _is_on_topic(self, title: str, article: Any, citation: Any) -> bool:
        if not self.topics:
            return True
        said = [title, article.findtext("Journal/Title") or ""]
        said += [_text(one) for name in ("DescriptorName", "Keyword") for one in citation.iter(name)]
        line = " | ".join(said).lower()
        return any(topic in line for topic in self.topics)


def read_citations(path: Path) -> Iterator[Any]:
    """The elements ``MedlineCitation`` of a file, one at a time; the one before is forgotten.

    Raises:
        DataError: not such a file, damaged, or one that declares entities, which could fill memory or name other files.
    """
    try:
        import defusedxml
        import defusedxml.ElementTree as Tree
    except ImportError:
        raise DataError("--pubmed needs defusedxml: pip install 'cmelt-plugin[language]'") from None
    with cast(IO[bytes], gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")) as handle:
        counted = _Counted(handle, path)
        root = None
        try:
            for event, element in Tree.iterparse(counted, events=("start", "end")):
                if event == "start":
                    if root is None:
                        root = element
                        if root.tag != ROOT:
                            raise DataError(f"{path}: XML of another kind, its root is <{root.tag:.40}>, not <{ROOT}>")
                elif element.tag == "PubmedArticle":
                    citation = element.find("MedlineCitation")
                    if citation is not None:
                        yield citation
                    assert root is not None
                    root.clear()
                    counted.since = 0
        except defusedxml.DefusedXmlException as error:
            raise DataError(
                f"{path}: declares entities or refers to other files, as no file of PubMed does ({error})"
            ) from None
        except Tree.ParseError as error:
            raise DataError(f"{path}: damaged XML ({error}); download it again") from None
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{path}: damaged ({error}); download it again") from None


class _Counted:
    """A file that refuses to be read on where too much was read since the last citation: ``since`` bytes."""

    def __init__(self, handle: IO[bytes], path: Path):
        self.handle, self.path, self.since = handle, path, 0

    def read(self, size: int = -1) -> bytes:
        data = self.handle.read(size)
        self.since += len(data)
        if self.since > LONGEST_CITATION:
            raise DataError(f"{self.path}: no end of a citation within {LONGEST_CITATION >> 20} MB; not a file of PubMed's")
        return data


def _text(element: Any) -> str:
    """All text of an element, also inside of ``<i>``, ``<sub>`` and the like; blanks squeezed."""
    return "" if element is None else " ".join("".join(element.itertext()).split())
