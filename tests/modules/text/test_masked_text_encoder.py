"""Encoders with a head for masked words: what is loaded, what is computed, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from corpora import write_bert
from tiny import tiny_t5_config

from cmelt_plugin.errors import DataError
from cmelt_plugin.huggingface import import_transformers
from cmelt_plugin.modules.text.masked_text_encoder import MaskedTextEncoder
from cmelt_plugin.modules.text.text_encoder import TextEncoder, describe_text_encoder

TEXT = torch.tensor([[2, 9, 4, 11, 3], [2, 4, 3, 0, 0]])
PADDING = TEXT == 0
SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="module")
def masked(tmp_path_factory) -> Path:
    return write_bert(tmp_path_factory.mktemp("masked"), masked=True)


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """Without a head, as MedCPT."""
    return write_bert(tmp_path_factory.mktemp("bare"))


def opened(folder: Path) -> MaskedTextEncoder:
    return MaskedTextEncoder(describe_text_encoder(str(folder)), str(folder)).eval()


def test_logits_at_some_positions_are_those_of_the_whole_model(masked: Path) -> None:
    encoder = opened(masked)
    assert not encoder.head_is_new and encoder.vocab_size == 120 and encoder.longest_text == 64
    reference = import_transformers().BertForMaskedLM.from_pretrained(masked).eval()
    with torch.no_grad():
        expected = reference(input_ids=TEXT, attention_mask=(~PADDING).long()).logits.flatten(0, 1)
        positions = torch.tensor([2, 6])
        torch.testing.assert_close(encoder(TEXT, PADDING, positions), expected[positions], rtol=0, atol=1e-6)
        torch.testing.assert_close(encoder(TEXT, PADDING), expected, rtol=0, atol=1e-6)


def test_a_family_that_keeps_its_head_elsewhere_computes_the_same() -> None:
    transformers = import_transformers()
    config = transformers.DistilBertConfig(vocab_size=40, dim=16, n_layers=1, n_heads=2, hidden_dim=32)
    encoder = MaskedTextEncoder(json.dumps({"model_type": "distilbert", **config.to_diff_dict()})).eval()
    assert encoder._head is None
    with torch.no_grad():
        torch.testing.assert_close(encoder(TEXT, PADDING, torch.tensor([6])), encoder(TEXT, PADDING)[6:7])


def test_an_encoder_without_a_head_gets_one_tied_to_its_words(bare: Path, caplog) -> None:
    encoder = opened(bare)
    assert encoder.head_is_new and "has no head for masked words" in caplog.text
    assert encoder.model.get_output_embeddings().weight is encoder.model.get_input_embeddings().weight
    head = encoder.model.cls.predictions
    assert head.bias is head.decoder.bias  # or an exported folder would lose one of them
    states = TextEncoder(describe_text_encoder(str(bare)), str(bare)).eval()
    with torch.no_grad():
        ours = encoder.model.base_model(input_ids=TEXT, attention_mask=(~PADDING).long()).last_hidden_state
        torch.testing.assert_close(ours[~PADDING], states(TEXT, PADDING)[~PADDING], rtol=0, atol=1e-5)


def test_positions_of_roberta_begin_behind_the_padding() -> None:
    roberta = {"model_type": "roberta", **SIZES, "max_position_embeddings": 34, "pad_token_id": 1}
    encoder = MaskedTextEncoder(json.dumps(roberta))
    assert encoder.longest_text == 32 and encoder._head == "lm_head"
    assert encoder(torch.full((1, 32), 5)).shape == (32, 40)
    with pytest.raises((IndexError, RuntimeError)):
        encoder(torch.full((1, 33), 5))


@pytest.mark.parametrize("values", [json.loads(tiny_t5_config()), {"model_type": "bert", **SIZES, "is_decoder": True}])
def test_what_does_not_predict_masked_words_both_ways_is_refused(values) -> None:
    with pytest.raises(DataError, match=f"a {values['model_type']} text encoder is not one that predicts masked words"):
        MaskedTextEncoder(json.dumps(values))


def test_missing_weights_of_the_encoder_are_refused(masked: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(masked / "model.safetensors")
    name = next(name for name in weights if "layer.1.attention.self.query.weight" in name)
    for path in masked.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    save_file({key: tensor for key, tensor in weights.items() if key != name}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match="layer.1.attention.self.query.weight"):
        opened(tmp_path)
