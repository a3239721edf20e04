"""XML from strangers: encodings that are read, attacks that are refused in little memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from format_files import measured

from cmelt_plugin.errors import DataError
from cmelt_plugin.intake import xml_files
from cmelt_plugin.intake.refusal import refusing
from cmelt_plugin.intake.xml_files import read_xml, root_name, text_at

read = refusing("XML")(read_xml)


@pytest.mark.parametrize(
    "data",
    (
        "<a><b>é</b></a>".encode(),
        b"\xef\xbb\xbf" + '<?xml version="1.0"?><a><b>é</b></a>'.encode(),
        '<?xml version="1.0" encoding="ISO-8859-1"?><!DOCTYPE a SYSTEM "a.dtd"><a><b>é</b></a>'.encode("latin-1"),
        '<?xml version="1.0" encoding="ISO8859-1" ?><!-- <c> --><a><b>é</b></a>'.encode("latin-1"),
        '<?xml version="1.0" encoding="windows-1252"?>\n<a><b> é </b></a>'.encode("cp1252"),
        '<?xml version="1.0" encoding="utf-16"?><a><b>é</b></a>'.encode("utf-16"),
        '<?xml version="1.0" encoding="UTF-16"?><a><b>é</b></a>'.encode("utf-16-le"),
        '<?xml version="1.0" encoding="UTF-16"?><a><b>é</b></a>'.encode("utf-16-be"),
        '<?xml version="1.0" encoding="utf-16"?><a><b>é</b></a>'.encode(),  # converted, and the declaration left as it was
        '<n:a xmlns:n="urn:n"><n:b>é</n:b></n:a>'.encode(),
        b"<a><b>&#233;</b></a>",
        "<a><b><![CDATA[é]]></b></a>".encode(),
    ),
)
def test_what_is_read(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(data)
    root = read_xml(str(path))
    assert (root.tag, text_at(root, "b"), text_at(root, "c")) == ("a", "é", "")
    assert root_name(data) == "a"


LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
HOSTILE = {
    "laughs": (f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><a>&l9;</a>', "declares entities"),
    "external entity": ('<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>', "declares entities"),
    "parameter entity": ('<!DOCTYPE a [<!ENTITY % e SYSTEM "http://localhost/e">%e;]><a/>', "declares entities"),
    "attributes by default": ('<!DOCTYPE a [<!ATTLIST a b CDATA "x">]><a/>', "declares entities"),
    "unknown entity": ("<a>&e;</a>", "undefined entity"),
    "entity of a document type elsewhere": ('<!DOCTYPE a SYSTEM "a.dtd"><a>&e;</a>', "an entity"),
    "depth": ("<a>" * 101 + "</a>" * 101, "nested more than 100 deep"),
    "endless depth": ("<a>" * 300_000, "nested more than 100 deep"),
    "attributes without end": ("<a " + " ".join(f'a{i}=""' for i in range(300_000)), "a tag of more than"),
    "text of a tag without end": ('<a b="' + "b" * 3_000_000, "a tag of more than"),
    "nothing": ("", "no element found"),
    "cut": ("<a><b>", "not well-formed"),
    "two roots": ("<a/><a/>", "junk after document element"),
    "no text": ("\0\1\2", "not well-formed"),
    "no such encoding": ('<?xml version="1.0" encoding="rot13"?><a/>', "cannot be read as XML"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_refused(tmp_path: Path, name: str) -> None:
    text, reason = HOSTILE[name]
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(DataError, match=reason):
        measured(read, path)


@pytest.mark.parametrize("text", ("<a>" + "<b/>" * 60 + "</a>", "<a>" + '<b c=""/>' * 30 + "</a>"))
def test_too_many_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(text)
    assert read_xml(str(path)).tag == "a"
    monkeypatch.setattr(xml_files, "MOST_PARTS", 50)
    with pytest.raises(DataError, match="more than 50 elements"):
        read(str(path))


def test_a_file_of_2_gb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    with path.open("wb") as file:
        file.truncate(2 << 30)  # sparse
    with pytest.raises(DataError, match="2,147,483,648 bytes, at most 67,108,864 are read"):
        measured(read, path)


def test_heads_without_a_name() -> None:
    for head in (
        b"",
        b"<",
        b"<!-- ",
        b"\xff\xfe",
        b"\xff\xfe<",
        b"I,II\n1,2\n",
        b"<?xml",
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>",
    ):
        assert root_name(head) == ""
