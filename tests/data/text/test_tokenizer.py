"""Token ids back to texts."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_texts import write_wordpiece

from cmelt_plugin.data.text.reports import normalise_report
from cmelt_plugin.data.text.tokenizer import decode, encode, load_tokenizer
from preprocess.text.t5_folder import train_sentencepiece, write_tokenizer

MARKS = ".,:/+-"
CHARACTERS = string.ascii_lowercase + string.digits
TEXTS = [
    "sinus rhythm with 2:1 block, rate 60-100",
    "1st degree A-V block (PR 0.22 s)",
    "QTc 460 / 450 ms; v4,5,6 ST depression -0.2 mV",
    "no previous tracing",
]


@pytest.fixture(scope="module", params=["bert", "t5"])
def tokenizer(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "t5":
        write_tokenizer(folder, train_sentencepiece([*map(normalise_report, TEXTS), *CHARACTERS, MARKS] * 20, 60))
        return load_tokenizer(str(folder))
    pieces = ["block", "##st", *CHARACTERS, *(f"##{character}" for character in CHARACTERS), *MARKS]
    return load_tokenizer(str(write_wordpiece(folder, pieces)))


def test_reports_come_back(tokenizer):
    normal = [normalise_report(text) for text in [*TEXTS, ""]]
    ids, _ = encode(tokenizer, normal, 64)
    assert decode(tokenizer, ids) == normal
    without_ends = [[i for i in row if i not in tokenizer.all_special_ids] for row in ids]
    assert decode(tokenizer, without_ends) == normal


@given(st.text(alphabet="ab12 " + MARKS, max_size=20))
@settings(max_examples=60, deadline=None)
def test_any_normal_text_comes_back(tokenizer, text):
    normal = normalise_report(text)
    assert decode(tokenizer, encode(tokenizer, [normal], 64)[0]) == [normal]
