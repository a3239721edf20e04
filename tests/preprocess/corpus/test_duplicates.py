from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("datasketch", reason="pip install 'cmelt-plugin[language]'")

from preprocess.corpus.document import text_digest  # noqa: E402
from preprocess.corpus.duplicates import DUPLICATE, NEAR, SAME_ID, Duplicates, shingles_of  # noqa: E402

LONG = "sinus rhythm with first degree av block left axis deviation and nonspecific t wave changes in the lateral leads today"


@pytest.fixture
def known(tmp_path: Path) -> Duplicates:
    return Duplicates({text_digest(["Of a test record!"]): "refused"}, 0.8, tmp_path)


def test_what_is_new_stays_and_the_rest_has_its_reason(known: Duplicates) -> None:
    assert known.reason("a", [LONG]) is None
    assert known.reason("b", [LONG.upper() + "."]) == DUPLICATE  # case and punctuation make no other text
    assert known.reason("c", [LONG, "again"]) == NEAR
    assert known.reason("d", [LONG.replace("left", "right").replace("first", "second").replace("lateral", "inferior")]) is None
    assert known.reason("a", ["something else altogether"]) == SAME_ID
    assert known.reason("e", ["of a", "test record"]) == "refused"
    assert known.reason("f", ["normal"]) is None and known.reason("g", ["normal ecg"]) is None
    assert known.reason("h", ["Normal"]) == DUPLICATE


def jaccard(first: str, second: str) -> float:
    a, b = set(shingles_of(first).tolist()), set(shingles_of(second).tolist())
    return len(a & b) / len(a | b)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_near_duplicates_are_those_of_the_index_and_no_others(tmp_path_factory, seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = LONG.split()
    texts = []
    for _ in range(12):
        changed = list(words)
        for place in rng.integers(0, len(words), rng.integers(0, 4)):
            changed[place] = f"w{rng.integers(3)}"
        texts.append(" ".join(changed[: rng.integers(len(words) - 3, len(words) + 1)]))
    known, kept = Duplicates({}, 0.7, tmp_path_factory.getbasetemp()), []
    for number, text in enumerate(texts):
        reason = known.reason(str(number), [text])
        near = [jaccard(text, other) for other in kept]
        if reason is None:
            assert not any(index > 0.9 for index in near)  # MinHash misses few, and hardly any far above the threshold
            kept.append(text)
        elif reason == NEAR:
            assert any(index >= 0.7 for index in near)


def test_short_texts_are_compared_whole() -> None:
    assert len(shingles_of("normal ecg")) == len(shingles_of("normal")) == 1
    assert len(shingles_of("a b c d")) == 2 and len(shingles_of("a a a a a")) == 1
    assert shingles_of("a b c d").dtype == np.uint32
