"""BLEU, ROUGE-L and METEOR of reports, against the libraries' own sums and formulas written out."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.metrics.bootstrap import metrics_of_sums, subject_groups
from cmelt_plugin.evaluation.metrics.text_overlap import TextOverlap

REFERENCES = [
    "sinus rhythm normal ecg",
    "atrial fibrillation with rapid ventricular response left axis deviation abnormal ecg",
    "sinus rhythm with pvc s possible inferior infarct age undetermined",
    "vorhofflimmern überleitung 2:1",
]
GENERATED = [
    "sinus rhythm normal ecg",
    "atrial fibrillation with slow ventricular response abnormal ecg",
    "sinus rhythms normal",
    "überleitung 2:1",
]


@pytest.fixture(scope="module")
def overlap():
    for library in ("nltk", "rouge_score", "sacrebleu"):
        pytest.importorskip(library, reason="metrics of wording need the extra 'generation'")
    return TextOverlap()


def of(overlap, generated, references):
    return overlap.metrics(overlap.columns(generated, references).sum(axis=0))


def longest_common(a, b):
    """Length of the longest common subsequence, by recursion over prefixes."""
    lengths = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    for i, word in enumerate(a):
        for j, other in enumerate(b):
            lengths[i + 1, j + 1] = lengths[i, j] + 1 if word == other else max(lengths[i, j + 1], lengths[i + 1, j])
    return lengths[-1, -1]


def test_bleu_is_that_of_the_corpus(overlap):
    from sacrebleu.metrics.bleu import BLEU

    for generated in (GENERATED, REFERENCES, GENERATED[::-1], ["x"] * 4, [""] * 4):
        assert of(overlap, generated, REFERENCES)["bleu"] == pytest.approx(
            BLEU().corpus_score(generated, [REFERENCES]).score / 100
        )
    assert any("tok:13a" in note and "nrefs:1" in note for note in overlap.notes)


def test_rouge_l_is_the_f_measure_of_common_words(overlap):
    expected = []
    for generated, reference in zip(GENERATED, REFERENCES):
        words = generated.split(), reference.split()
        expected.append(2 * longest_common(*words) / sum(map(len, words)))
    assert of(overlap, GENERATED, REFERENCES)["rouge_l"] == pytest.approx(np.mean(expected))


def test_meteor_of_words_and_stems(overlap, monkeypatch):
    from cmelt_plugin.evaluation.metrics.text_overlap import _NoSynonyms

    bare = TextOverlap()
    monkeypatch.setattr(bare, "_synonyms", _NoSynonyms())
    # "sinus rhythms" against "sinus rhythm x y": both match, one by its stem; precision 1, recall 1/2; one chunk.
    f_mean = 1 * 0.5 / (0.9 * 1 + 0.1 * 0.5)
    assert of(bare, ["sinus rhythms"], ["sinus rhythm x y"])["meteor"] == pytest.approx(f_mean * (1 - 0.5 * (1 / 2) ** 3))
    assert of(bare, [""], ["sinus rhythm"])["meteor"] == 0.0
    assert any(note.startswith("METEOR: ") and "synonyms" in note for note in bare.notes)


@pytest.fixture
def wordnet(tmp_path, monkeypatch):
    """The folder of a WordNet that knows two words, and nothing else where NLTK looks."""
    nltk = pytest.importorskip("nltk", reason="metrics of wording need the extra 'generation'")
    from nltk.corpus.reader import WordNetCorpusReader
    from nltk.corpus.util import LazyCorpusLoader

    folder = tmp_path / "corpora" / "wordnet"
    folder.mkdir(parents=True)
    for name in WordNetCorpusReader._FILES:
        (folder / name).touch()
    (folder / "lexnames").write_text("00\tnoun.all\t1\n")
    (folder / "index.noun").write_text("infarct n 1 0 1 0 00000000\nscar n 1 0 1 0 00000000\nwell n 1 0 1 0 00000000\n")
    (folder / "data.noun").write_text("00000000 00 n 03 infarct 0 scar 0 well 0 000 | dead tissue\n")
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    monkeypatch.setattr(nltk.corpus, "wordnet", LazyCorpusLoader("wordnet", WordNetCorpusReader, None))
    return folder


@pytest.mark.filterwarnings("ignore:The multilingual functions")
def test_meteor_knows_the_synonyms_of_wordnet(overlap, wordnet):
    knowing = TextOverlap()
    texts = ["old infarct"], ["old scar"]
    assert of(knowing, *texts)["meteor"] == pytest.approx(of(knowing, texts[1], texts[1])["meteor"])
    assert of(knowing, ["old infarct"], ["old injury"])["meteor"] < 0.5
    assert knowing.notes[-1] == "METEOR: with synonyms of WordNet."


@pytest.mark.filterwarnings("ignore:The multilingual functions")
@pytest.mark.parametrize("damage", ["none", "lexnames", "data.noun", "index.noun"])
def test_reports_are_compared_without_wordnet(overlap, wordnet, damage):
    if damage == "none":
        wordnet.rename(wordnet.with_name("elsewhere"))
    elif damage == "index.noun":
        (wordnet / damage).write_text("infarct n 1 0\n")
    else:
        (wordnet / damage).unlink()
    bare = TextOverlap()
    assert of(bare, ["old heart"], ["old infarction"])["meteor"] == of(bare, ["old word"], ["old infarction"])["meteor"] > 0
    why = "is not installed" if damage == "none" else "cannot be read"
    assert why in bare.notes[-1] and "nltk.downloader wordnet" in bare.notes[-1] and "\n" not in bare.notes[-1]


def test_copies_and_strangers(overlap):
    same = of(overlap, REFERENCES, REFERENCES)
    assert same["bleu"] == pytest.approx(1) and same["rouge_l"] == pytest.approx(1) and same["exact"] == 1
    assert same["meteor"] > 0.97  # its penalty for the number of chunks never vanishes
    strange = of(overlap, ["nothing in common"] * 4, REFERENCES)
    assert strange["rouge_l"] == strange["meteor"] == strange["exact"] == 0 and strange["bleu"] < 0.05
    with pytest.raises(ValueError, match="3 texts for 4"):
        overlap.columns(GENERATED[:3], REFERENCES)


def test_intervals_resample_subjects(overlap):
    columns = overlap.columns(GENERATED * 5, REFERENCES * 5)
    group = subject_groups(20, [f"s{row % 10}" for row in range(20)])
    values, intervals = metrics_of_sums(columns, group, overlap.metrics, 200, 0)
    assert values == pytest.approx(dict(of(overlap, GENERATED, REFERENCES)))
    assert values.keys() == intervals.keys()
    for name, (low, high) in intervals.items():
        assert low < values[name] < high, name
    assert metrics_of_sums(columns, group, overlap.metrics, 0, 0) == (values, {})


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    monkeypatch.setitem(sys.modules, "nltk.corpus", None)
    with pytest.raises(DataError, match=r"not installed.*pip install 'cmelt-plugin\[generation\]'"):
        TextOverlap()
