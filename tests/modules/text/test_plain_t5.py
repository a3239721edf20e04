"""Our encoder of T5 against transformers'."""

from __future__ import annotations

import json

import pytest
import torch

from cmelt_plugin.models.files.opening import open_model
from cmelt_plugin.modules.text.plain_t5 import PlainT5
from cmelt_plugin.modules.text.text_encoder import TextEncoder
from cmelt_plugin.weights import DEFAULT, FOLDER

SMALL = {
    "model_type": "t5",
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_heads": 4,
    "num_layers": 3,
    "vocab_size": 99,
    "relative_attention_num_buckets": 16,
    "relative_attention_max_distance": 40,
}


@pytest.mark.parametrize("activation", ("relu", "gated-gelu"))
def test_it_computes_what_transformers_does(activation: str) -> None:
    description = json.dumps({**SMALL, "feed_forward_proj": activation})
    torch.manual_seed(0)
    theirs, ours = TextEncoder(description).eval(), TextEncoder(description, serving=True).eval()
    assert isinstance(ours.model, PlainT5) and not isinstance(theirs.model, PlainT5)
    weights = {name: torch.randn_like(tensor) * 0.3 for name, tensor in theirs.state_dict().items()}
    weights["model.encoder.embed_tokens.weight"] = weights["model.shared.weight"]
    theirs.load_state_dict(weights, strict=True)
    ours.load_state_dict(weights, strict=True)
    assert ours.fingerprint() == theirs.fingerprint() and (ours.dim, ours.vocab_size) == (theirs.dim, theirs.vocab_size)
    text = torch.randint(0, 99, (3, 70))
    padding = torch.arange(70) >= torch.tensor([[70], [1], [40]])
    with torch.inference_mode():
        for mask in (None, padding):
            expected, found = theirs(text, mask), ours(text, mask)
            real = slice(None) if mask is None else ~mask
            torch.testing.assert_close(found[real], expected[real], rtol=1e-4, atol=1e-5)


def test_what_it_does_not_know_is_transformers() -> None:
    assert not isinstance(TextEncoder(json.dumps({**SMALL, "feed_forward_proj": "gated-silu"}), serving=True).model, PlainT5)


def test_only_the_shipped_model_has_it() -> None:
    shipped, _ = open_model(DEFAULT)
    assert isinstance(shipped.model.text_encoder.model, PlainT5) and (FOLDER / DEFAULT).is_dir()
