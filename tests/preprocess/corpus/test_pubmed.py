from __future__ import annotations

import gzip
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("defusedxml", reason="pip install 'cmelt-plugin[language]'")

from cmelt_plugin.errors import DataError  # noqa: E402
from preprocess.corpus import pubmed  # noqa: E402
from preprocess.corpus.pubmed import PubMedFile  # noqa: E402

HEAD = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle, 1st January 2024//EN"
 "https://dtd.nlm.nih.gov/ncbi/pubmed/out/pubmed_240101.dtd">
<PubmedArticleSet>
"""


def citation(
    pmid: int,
    title: str,
    *abstract: str,
    mesh: str = "",
    keyword: str = "",
    kind: str = "D016428",
    journal: str = "Some journal",
) -> str:
    """As the baseline has it, shortened."""
    parts = "".join(f"<AbstractText Label='X' NlmCategory='METHODS'>{text}</AbstractText>" for text in abstract)
    parts = f"<Abstract>{parts}<CopyrightInformation>C</CopyrightInformation></Abstract>" if parts else ""
    heading = f"<MeshHeading><DescriptorName UI='D1' MajorTopicYN='Y'>{mesh}</DescriptorName></MeshHeading>" if mesh else ""
    keyword = f"<KeywordList Owner='NOTNLM'><Keyword>{keyword}</Keyword></KeywordList>" if keyword else ""
    return f"""<PubmedArticle><MedlineCitation Status="MEDLINE" Owner="NLM"><PMID Version="1">{pmid}</PMID>
<Article PubModel="Print"><Journal><ISSN IssnType="Print">0006-2944</ISSN><Title>{journal}</Title></Journal>
<ArticleTitle>{title}</ArticleTitle>{parts}
<AuthorList CompleteYN="Y"><Author><LastName>Heart</LastName></Author></AuthorList><Language>eng</Language>
<PublicationTypeList><PublicationType UI="{kind}">Journal Article</PublicationType></PublicationTypeList></Article>
<MeshHeadingList>{heading}</MeshHeadingList>{keyword}
</MedlineCitation><PubmedData><ReferenceList><Reference><Citation>Heart</Citation></Reference></ReferenceList></PubmedData>
</PubmedArticle>
"""


def write(path: Path, *citations: str, head: str = HEAD, tail: str = "</PubmedArticleSet>") -> Path:
    content = (head + "".join(citations) + tail).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def read(path: Path, **options):
    left_out: Counter[str] = Counter()
    return list(PubMedFile(path, **options).documents(left_out)), dict(left_out)


def test_citations_about_the_heart_become_documents(tmp_path: Path) -> None:
    path = write(
        tmp_path / "pubmed24n0001.xml.gz",
        citation(1, "Heart rate in <i>sleep</i>.", "Methods: R<sub>1</sub> waves &amp; more. Results are shown.", "It beats."),
        citation(2, "Formate assay in body fluids.", "Of methanol."),
        citation(3, "Myocardial infarction."),
        citation(4, "A withdrawn study of arrhythmias.", "Text.", kind="D016441"),
        citation(5, "Something else.", "By its keyword.", keyword="atrial flutter"),
        citation(6, "[Über das EKG].", "By its heading.", mesh="Electrocardiography"),
        citation(7, "Another.", "By its journal.", journal="The American journal of cardiology"),
    )
    found, left_out = read(path)
    assert [one.name for one in found] == ["pubmed:1", "pubmed:5", "pubmed:6", "pubmed:7"]
    assert found[0].statements == [
        "Heart rate in sleep.",
        "Methods: R1 waves & more.",
        "Results are shown.",
        "It beats.",
    ]
    assert found[2].statements == ["Über das EKG.", "By its heading."]
    assert left_out == {"other topic": 1, "no abstract": 1, "retracted": 1}
    found, left_out = read(path, topics=())
    assert len(found) == 5 and "other topic" not in left_out


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ('<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><PubmedArticleSet>', "<PubmedArticle>&b;</PubmedArticle>"),
        ('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><PubmedArticleSet>', "<PubmedArticle>&a;</PubmedArticle>"),
        ('<!DOCTYPE x [<!ENTITY % a SYSTEM "http://localhost/x"> %a;]><PubmedArticleSet>', ""),
    ],
)
def test_entities_are_refused_before_they_grow(tmp_path: Path, head: str, body: str) -> None:
    with pytest.raises(DataError, match="declares entities or refers to other files"):
        read(write(tmp_path / "bomb.xml", body, head=head))


def test_damaged_and_other_files_are_refused(tmp_path: Path, monkeypatch) -> None:
    whole = write(tmp_path / "a.xml.gz", *(citation(number, "Heart.", "Text " * 500) for number in range(9)))
    cut = tmp_path / "cut.xml.gz"
    cut.write_bytes(whole.read_bytes()[:-30])
    with pytest.raises(DataError, match="damaged .*download it again"):
        read(cut)
    with pytest.raises(DataError, match="damaged XML"):
        read(write(tmp_path / "a.xml", citation(1, "Heart.", "Text."), tail=""))
    with pytest.raises(DataError, match="undefined entity|damaged XML"):
        read(write(tmp_path / "b.xml", citation(1, "Heart &nbsp; rate.", "Text.")))
    with pytest.raises(DataError, match="its root is <html>"):
        read(write(tmp_path / "c.xml", "<p/>", head="<html>", tail="</html>"))
    monkeypatch.setattr(pubmed, "LONGEST_CITATION", 1 << 16)
    with pytest.raises(DataError, match="no end of a citation within"):
        read(write(tmp_path / "d.xml.gz", citation(1, "Heart.", "Text " * 100_000)))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    for number in (20, 400):
        path = write(tmp_path / f"{number}.xml.gz", *(citation(pmid, "Heart.", "Some words. " * 400) for pmid in range(number)))
        tracemalloc.start()
        assert sum(1 for _ in PubMedFile(path).documents(Counter())) == number
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]
