"""XML from strangers: parsed without entities, without fetching anything, in bounded memory."""

from __future__ import annotations

import base64
import re
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from cmelt_plugin.data.readers.contract import read_file
from cmelt_plugin.intake.numerals import number, numbers

LARGEST_XML = 1 << 26  # bytes: 12 leads at 500 Hz, written in digits, for half an hour
MOST_PARTS = 1 << 20  # elements, attributes and pieces of text; a recording has thousands
DEEPEST = 100
LONGEST_TAG = 1 << 20  # bytes of one tag, comment or instruction

_CHUNK = 1 << 16
_BEFORE_ROOT = re.compile(r"<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*>|\s+|\ufeff", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<([^\s<>/!?]+)[\s/>]")
_CLAIMS_UTF_16 = re.compile(rb"<\?xml[^>]{0,100}encoding\s*=\s*[\"']utf-?16", re.IGNORECASE)
_UTF_16 = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"<\0": "utf-16-le", b"\0<": "utf-16-be"}  # by first bytes
_BLANKS = {ord(blank): None for blank in " \t\r\n"}


def root_name(head: bytes) -> str:
    """The name of the outermost element, without prefix, from the first bytes of a file; "" where they show none."""
    text = head.decode(_UTF_16.get(head[:2], "latin-1"), "ignore")
    position = 3 if text.startswith("\u00ef\u00bb\u00bf") else 0  # UTF-8's byte order mark, as Latin-1
    while match := _BEFORE_ROOT.match(text, position):
        position = match.end()
    tag = _TAG.match(text, position)
    return _local(tag[1]) if tag else ""


def read_xml(path: str) -> Element:
    """The outermost element of a file; names are without prefix.

    Declarations of entities and references to undeclared ones are refused; a document type outside the file may be named, but
    is not fetched.

    Raises:
        Rejected, ValueError: the file is larger than :data:`LARGEST_XML`, not XML, or of a kind that only attacks are.
        OSError: from the system.
    """
    data = read_file(path, LARGEST_XML)
    # Programs that convert files from UTF-16 leave the declaration as it was.
    converted = data[:1] == b"<" and data[1:2] != b"\0" and _CLAIMS_UTF_16.match(data)
    return _Tree("utf-8" if converted else None).parse(data)


class _Tree:
    """One parse: expat's events, counted, as elements."""

    def __init__(self, encoding: str | None) -> None:
        self.elements = TreeBuilder()
        self.parts = self.depth = 0
        self.parser = parser = expat.ParserCreate(encoding)
        parser.buffer_text = True
        parser.buffer_size = _CHUNK
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._document_type
        parser.EntityDeclHandler = self._entity
        parser.SkippedEntityHandler = self._entity

    def parse(self, data: bytes) -> Element:
        try:
            for start in range(0, len(data), _CHUNK):
                self.parser.Parse(data[start : start + _CHUNK], False)
                # A tag is parsed again with every chunk until it ends.
                if start - self.parser.CurrentByteIndex > LONGEST_TAG:
                    raise ValueError(f"a tag of more than {LONGEST_TAG:,} bytes")
            self.parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise ValueError(f"not well-formed XML: {error}") from None
        return self.elements.close()

    def _count(self, parts: int) -> None:
        self.parts += parts
        if self.parts > MOST_PARTS:
            raise ValueError(f"more than {MOST_PARTS:,} elements, attributes and texts")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count(1 + len(attributes))
        self.depth += 1
        if self.depth > DEEPEST:
            raise ValueError(f"elements nested more than {DEEPEST} deep")
        self.elements.start(_local(name), attributes)

    def _end(self, name: str) -> None:
        self.depth -= 1
        self.elements.end(_local(name))

    def _text(self, text: str) -> None:
        self._count(1)
        self.elements.data(text)

    def _document_type(self, name: str, system: str | None, public: str | None, declares: bool) -> None:
        if declares:
            raise ValueError("the file declares entities or elements of its own, which no ECG needs")

    def _entity(self, *_: object) -> NoReturn:
        raise ValueError("an entity, which no ECG needs")


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def text_at(element: Element, path: str) -> str:
    """The text of the first element at ``path``, without blanks around it; "" where there is none."""
    return (element.findtext(path) or "").strip()


def number_at(element: Element, path: str) -> float:
    """The number at ``path``.

    Raises:
        ValueError: there is none.
    """
    return number(text_at(element, path), path.rpartition("/")[2])


def base64_at(element: Element, path: str = ".") -> bytes:
    """The bytes that stand at ``path`` in Base64.

    Raises:
        ValueError: what stands there is not Base64.
    """
    found = element.find(path)
    return base64.b64decode(((found.text if found is not None else "") or "").translate(_BLANKS), validate=True)


def numbers_at(element: Element, path: str = ".", separator: str = ",") -> np.ndarray:
    """The numbers at ``path``, float64.

    Raises:
        ValueError: something there is not a number.
    """
    found = element.find(path)
    return numbers((found.text if found is not None else "") or "", separator)
