"""What the text tower reads of a tokenised report, what the captioner is to write, and the means over sentences."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.melp.text_layout import NO_LABEL, TextLayout, Tokens, text_tokens

TOKENS = Tokens(begin=90, end=91, summary=92)
BERT_TEXT = torch.tensor([[2, 11, 12, 13, 3], [2, 21, 3, 0, 0]])
T5_TEXT = torch.tensor([[11, 12, 13, 1], [21, 1, 0, 0]])
PADDING = {5: torch.tensor([[False] * 5, [False] * 3 + [True] * 2]), 4: torch.tensor([[False] * 4, [False] * 2 + [True] * 2])}


def test_bert_texts_get_a_summary_behind_their_last_token() -> None:
    """D-M16: dynamic lengths, and no padding between the words and what sums them up."""
    found = TextLayout(TOKENS, True, "dynamic").sequence(BERT_TEXT, PADDING[5])
    assert found.ids.tolist() == [[90, 11, 12, 13, 3, 92], [90, 21, 3, 92, 0, 0]]
    assert found.padding_mask.tolist() == [[False] * 6, [False] * 4 + [True] * 2]
    assert found.summary.tolist() == found.n_text.tolist() == [5, 3]


def test_t5_texts_get_a_beginning_too() -> None:
    found = TextLayout(TOKENS, False, "dynamic").sequence(T5_TEXT, PADDING[4])
    assert found.ids.tolist() == [[90, 11, 12, 13, 1, 92], [90, 21, 1, 92, 0, 0]]
    assert found.padding_mask.tolist() == [[False] * 6, [False] * 4 + [True] * 2]
    whole = TextLayout(TOKENS, False, "dynamic").sequence(T5_TEXT[:1], None)
    assert torch.equal(whole.ids, found.ids[:1]) and not whole.padding_mask.any()


@pytest.mark.parametrize("leading", [True, False])
def test_the_released_layout_has_128_places(leading: bool) -> None:
    text, layout = (BERT_TEXT if leading else T5_TEXT), TextLayout(TOKENS, leading, "released")
    found = layout.sequence(text, PADDING[text.shape[1]])
    dynamic = TextLayout(TOKENS, leading, "dynamic").sequence(text, PADDING[text.shape[1]])
    assert found.ids.shape == (2, 128) and found.summary.tolist() == [127, 127] and layout.gaps
    real = ~found.padding_mask
    assert [row[keep].tolist() for row, keep in zip(found.ids, real)] == [
        [90, 11, 12, 13, text[0, -1].item(), 92],
        [90, 21, text[0, -1].item(), 92],
    ]
    assert torch.equal(found.n_text, dynamic.n_text)
    longest = 127 if leading else 126
    assert layout.sequence(torch.ones(1, longest, dtype=torch.long), None).padding_mask.sum() == 0
    with pytest.raises(DataError, match=f"has places for {longest}: set task.max_text_tokens"):
        layout.sequence(torch.ones(1, longest + 1, dtype=torch.long), None)
    with pytest.raises(DataError, match="dynamic, released, not 'fixed'"):
        TextLayout(TOKENS, leading, "fixed")


@pytest.mark.parametrize("layout", ["dynamic", "released"])
def test_labels_are_the_words_and_the_end_alone(layout: str) -> None:
    """D-M14: padding is known by its mask, not by an id; a word of id 0 is a word."""
    text = torch.tensor([[2, 11, 0, 13, 3], [2, 21, 3, 0, 0]])
    made = TextLayout(TOKENS, True, layout)
    labels = made.labels(made.sequence(text, PADDING[5]))
    assert labels.shape == (2, 4 if layout == "dynamic" else 126)
    assert labels[:, :4].tolist() == [[11, 0, 13, 3], [21, 3, NO_LABEL, NO_LABEL]]
    assert (labels[:, 4:] == NO_LABEL).all()


@pytest.mark.parametrize("layout", ["dynamic", "released"])
@pytest.mark.parametrize("leading", [True, False])
def test_means_over_sentences(leading: bool, layout: str) -> None:
    text, made = (BERT_TEXT if leading else T5_TEXT), TextLayout(TOKENS, leading, layout)
    sequence = made.sequence(text, PADDING[text.shape[1]])
    states = torch.randn(*sequence.ids.shape, 6)
    first = int(leading)
    spans = torch.tensor([[[0, 2], [2, 3]], [[0, 1], [0, 0]]]) + first
    found = made.span_means(states, spans, sequence)
    expected = [states[0, 1:3].mean(0), states[0, 3], states[1, 1], torch.zeros(6)]  # words stand from place 1 on
    torch.testing.assert_close(found.flatten(0, 1), torch.stack(expected))
    # A text without words has one sentence, all of its tokens; what sums it up is not one of them.
    whole = made.span_means(states, torch.tensor([[[0, text.shape[1]]], [[0, 3]]]), sequence)
    torch.testing.assert_close(whole[0, 0], states[0, 1 - first : 5].mean(0))


def test_tokens_are_set_or_the_tokenizers_or_the_encoders() -> None:
    unset = SimpleNamespace(begin_token=None, end_token=None, summary_token=None)
    bert, t5 = SimpleNamespace(vocab_size=60), SimpleNamespace(vocab_size=60, eos_token_id=1)
    named = SimpleNamespace(cls_token_id=2, sep_token_id=3, bos_token_id=None, eos_token_id=None)
    assert text_tokens(unset, bert, named) == (2, 3, 2)
    assert text_tokens(unset, t5) == (1, 1, 1)
    assert text_tokens(unset, t5, SimpleNamespace(eos_token_id=5, cls_token_id=None)) == (5, 5, 5)
    assert text_tokens(SimpleNamespace(begin_token=0, end_token=None, summary_token=7), bert, named) == (0, 3, 7)
    with pytest.raises(DataError, match="set model.begin_token, model.end_token and model.summary_token"):
        text_tokens(unset, bert)
    with pytest.raises(DataError, match="ids up to 59"):
        text_tokens(SimpleNamespace(begin_token=60, end_token=1, summary_token=2), bert)
