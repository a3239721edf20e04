"""Text encoders that read from left to right: as Hugging Face's models under a causal mask, in parts and step by step."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from tiny import VOCAB, tiny_t5_config
from tiny_melp import TINY_BERT
from torch import Tensor

from cmelt_plugin.errors import DataError
from cmelt_plugin.modules.text.causal_text_encoder import CausalTextEncoder
from cmelt_plugin.modules.text.text_encoder import TextEncoder

BERT = json.dumps({**TINY_BERT, "max_position_embeddings": 32})
DESCRIPTIONS = {"bert": BERT, "t5": tiny_t5_config(), "mt5": json.dumps({**json.loads(tiny_t5_config()), "model_type": "mt5"})}
PADDING = torch.arange(9) >= torch.tensor([9, 4, 7])[:, None]


@pytest.fixture(params=sorted(DESCRIPTIONS))
def family(request) -> str:
    return request.param


def encoder_of(family: str, **options: Any) -> CausalTextEncoder:
    torch.manual_seed(0)
    encoder = CausalTextEncoder(DESCRIPTIONS[family], **options).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return encoder


def text() -> Tensor:
    return torch.randint(3, 58, PADDING.shape, generator=torch.Generator().manual_seed(1))


def by_hugging_face(family: str, encoder: CausalTextEncoder, attend: Tensor) -> tuple[TextEncoder, Tensor]:
    """The library's own model with the same weights, and the mask ``attend [B, N, N]`` in the form that its version takes."""
    plain = TextEncoder(DESCRIPTIONS[family]).eval()
    plain.load_state_dict(encoder.state_dict())
    try:
        plain.model.set_attn_implementation("eager")
    except AttributeError:  # an older transformers, which makes a mask of numbers itself
        return plain, attend.long()
    return plain, torch.zeros(attend.shape)[:, None].masked_fill(~attend[:, None], torch.finfo(torch.float32).min)


CAUSAL = torch.ones(3, 9, 9, dtype=torch.bool).tril()


def test_states_are_those_of_the_library_under_a_causal_mask(family: str) -> None:
    encoder, ids = encoder_of(family), text()
    plain, mask = by_hugging_face(family, encoder, CAUSAL)
    expected = plain.model(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(encoder(ids), expected, rtol=1e-5, atol=1e-5)
    gap = torch.zeros_like(PADDING)
    gap[1, 3:6] = True
    found = encoder.upper(encoder.lower(ids, gap, gaps=True), gap, gaps=True)
    _, mask = by_hugging_face(family, encoder, CAUSAL & ~gap[:, None, :])
    gapped = plain.model(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(found[~gap], gapped[~gap], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found[1, 6:], expected[1, 6:], atol=1e-3)


def test_gradients_are_those_of_the_library(family: str) -> None:
    encoder, ids, weight = encoder_of(family), text(), torch.randn(3, 9, 32)
    plain, mask = by_hugging_face(family, encoder, CAUSAL)
    for states in (encoder(ids), plain.model(input_ids=ids, attention_mask=mask).last_hidden_state):
        (states * weight).sum().backward()
    for (name, parameter), other in zip(encoder.named_parameters(), plain.parameters()):
        assert parameter.grad is not None and other.grad is not None, name
        scale = float(other.grad.abs().max().clamp(min=1))
        torch.testing.assert_close(parameter.grad / scale, other.grad / scale, rtol=1e-4, atol=1e-5, msg=name)


def test_a_token_is_seen_by_none_before_it(family: str) -> None:
    encoder, ids = encoder_of(family), text()
    for place in range(9):
        changed = ids.clone()
        changed[:, place] = (ids[:, place] + 7) % 50 + 3
        found, expected = encoder(changed), encoder(ids)
        assert torch.equal(found[:, :place], expected[:, :place])
        assert not torch.allclose(found[:, place:], expected[:, place:], atol=1e-3)


def test_padding_changes_nothing(family: str) -> None:
    encoder, ids = encoder_of(family), text()
    other = torch.where(PADDING, (ids + 7) % VOCAB, ids)
    torch.testing.assert_close(encoder(ids, PADDING)[~PADDING], encoder(other, PADDING)[~PADDING])
    torch.testing.assert_close(encoder(ids, PADDING)[1, :4], encoder(ids[1:2, :4])[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("free", [None, 0, 1, 2])
def test_both_halves_are_the_whole(family: str, free) -> None:
    encoder, ids = encoder_of(family, free_layers=free), text()
    whole = encoder_of(family)
    torch.testing.assert_close(encoder.upper(encoder.lower(ids, PADDING), PADDING)[~PADDING], whole(ids, PADDING)[~PADDING])
    assert encoder.n_frozen == (0 if free is None else 2 - free)


def test_tokens_read_one_by_one(family: str) -> None:
    """Each is read once, and rows change places in between."""
    encoder, ids = encoder_of(family), text()
    expected, caches = encoder(ids), encoder.empty_caches()
    rows = torch.arange(3)
    for place in range(9):
        found = encoder.next(ids[rows, place], place, caches)
        torch.testing.assert_close(found[:, 0], expected[rows, place], rtol=1e-5, atol=1e-5)
        chosen = torch.tensor([2, 0, 0, 1][: 3 + place % 2])
        chosen = chosen.clamp(max=len(rows) - 1)
        rows = rows[chosen]
        for cache in caches:
            cache.select(chosen)


def test_frozen_layers_keep_still_with_the_embeddings(family: str) -> None:
    """D-M21: what the release calls frozen stands on embeddings that move."""
    for free_embeddings in (False, True):
        encoder = CausalTextEncoder(DESCRIPTIONS[family], free_layers=1, free_embeddings=free_embeddings).train()
        assert encoder.lower_is_constant == (not free_embeddings)
        lower = encoder.lower(text(), PADDING)
        assert lower.requires_grad == free_embeddings
        assert free_embeddings or torch.equal(lower, encoder.lower(text(), PADDING))  # without dropout
        encoder.upper(lower, PADDING).square().sum().backward()
        trained = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
        assert trained == {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
        words = encoder.model.get_input_embeddings().weight
        assert words.requires_grad == free_embeddings
        assert {match[1] for match in map(re.compile(r"encoder\.(?:layer|block)\.(\d)").search, trained) if match} == {"1"}
    assert not CausalTextEncoder(DESCRIPTIONS[family]).lower_is_constant


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_agrees(family: str, dtype: torch.dtype) -> None:
    encoder, ids = CausalTextEncoder(DESCRIPTIONS[family]).eval(), text()
    expected = encoder(ids, PADDING)
    found = encoder.to(dtype)(ids, PADDING)
    torch.testing.assert_close(found[~PADDING].float(), expected[~PADDING], rtol=0.1, atol=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = encoder.float()(ids, PADDING)
    torch.testing.assert_close(mixed[~PADDING].float(), expected[~PADDING], rtol=0.1, atol=0.1)


def test_families_and_lengths_it_cannot_read_are_refused() -> None:
    deberta = json.dumps({**json.loads(BERT), "model_type": "deberta"})
    with pytest.raises(DataError, match="deberta text encoder cannot be read from left to right here; choose one of bert"):
        CausalTextEncoder(deberta)
    with pytest.raises(DataError, match="33 tokens.* 32 positions; set task.max_text_tokens"):
        encoder_of("bert")(torch.zeros(1, 33, dtype=torch.long))
    assert encoder_of("t5")(torch.ones(1, 33, dtype=torch.long)).shape == (1, 33, 32)
