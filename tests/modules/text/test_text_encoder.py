"""Text encoders of every family: padding, round trips through a folder, and folders that are not whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import VOCAB, tiny_t5_config

from cmelt_plugin.errors import DataError
from cmelt_plugin.modules.text.text_encoder import TextEncoder, describe_text_encoder

_BERT_SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 32,
}
_RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
DESCRIPTIONS: dict[str, str] = {
    "t5": tiny_t5_config(),
    "bert": json.dumps({"model_type": "bert", **_BERT_SIZES}),
    "deberta": json.dumps({"model_type": "deberta", **_BERT_SIZES, **_RELATIVE}),
    "deberta-v2": json.dumps(
        {
            "model_type": "deberta-v2",
            **_BERT_SIZES,
            **_RELATIVE,
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
        }
    ),
}
PADDING = torch.tensor([[False] * 6, [False, False, False, True, True, True]])


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # read once, at import
    torch.manual_seed(0)


@pytest.fixture(params=sorted(DESCRIPTIONS))
def family(request) -> str:
    return request.param


def folder_of(encoder: TextEncoder, path: Path) -> str:
    encoder.model.save_pretrained(path)
    return str(path)


def ids() -> torch.Tensor:
    return torch.randint(3, 58, PADDING.shape)


def test_sizes_and_training_mode(family: str) -> None:
    encoder = TextEncoder(DESCRIPTIONS[family])
    assert (encoder.dim, encoder.vocab_size, encoder.model_type) == (32, VOCAB, family)
    assert all(module.training for module in encoder.modules())
    assert encoder(ids(), PADDING).shape == (2, 6, 32)


def test_every_weight_gets_a_gradient(family: str) -> None:
    encoder = TextEncoder(DESCRIPTIONS[family])
    encoder(ids(), PADDING).square().sum().backward()
    assert not [name for name, parameter in encoder.named_parameters() if parameter.grad is None]


def test_padding_is_not_read(family: str) -> None:
    """Each family's attention mask arrives; without it the same change shows (the released code forgot T5's)."""
    encoder = TextEncoder(DESCRIPTIONS[family]).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    text = ids()
    other_padding = torch.where(PADDING, (text + 7) % VOCAB, text)
    clean, dirty = encoder(text, PADDING), encoder(other_padding, PADDING)
    torch.testing.assert_close(clean[~PADDING], dirty[~PADDING])
    assert not torch.allclose(encoder(text)[1, :3], encoder(other_padding)[1, :3], atol=1e-3)


def test_longer_padding_changes_nothing(family: str) -> None:
    encoder, text = TextEncoder(DESCRIPTIONS[family]).eval(), ids()
    longer = torch.cat([text, torch.zeros(2, 4, dtype=torch.long)], dim=1)
    padding = torch.cat([PADDING, torch.ones(2, 4, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(encoder(longer, padding)[:, :6][~PADDING], encoder(text, PADDING)[~PADDING])


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_one_more_token_reads_the_text_and_is_not_read(family: str) -> None:
    encoder, text, query = TextEncoder(DESCRIPTIONS[family]).eval(), ids(), torch.randn(32, requires_grad=True)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    states, read = encoder.with_query(text, PADDING, query)
    torch.testing.assert_close(states[~PADDING], encoder(text, PADDING)[~PADDING])
    other = torch.where(PADDING, (text + 7) % VOCAB, text)
    torch.testing.assert_close(encoder.with_query(other, PADDING, query)[1], read)  # padding says nothing to it
    torch.testing.assert_close(encoder.with_query(text[1:, :3], None, query)[1], read[1:])  # nor how much there is
    changed = torch.cat([(text[:, :1] + 1) % VOCAB, text[:, 1:]], dim=1)
    assert not torch.allclose(encoder.with_query(changed, PADDING, query)[1], read, atol=1e-3)
    read.sum().backward()
    assert query.grad is not None and query.grad.any()


def test_one_more_token_needs_a_place_and_a_family_that_lets_it_read() -> None:
    with pytest.raises(DataError, match="uncertainty=prolip: a deberta text encoder"):
        TextEncoder(DESCRIPTIONS["deberta"]).with_query(ids(), PADDING, torch.zeros(32))
    with pytest.raises(DataError, match="max_text_tokens=31"):
        TextEncoder(DESCRIPTIONS["bert"]).with_query(torch.ones(1, 32, dtype=torch.long), None, torch.zeros(32))


def test_folder_round_trip(family: str, tmp_path: Path) -> None:
    original = TextEncoder(DESCRIPTIONS[family]).eval()
    folder = folder_of(original, tmp_path)
    loaded = TextEncoder(describe_text_encoder(folder), folder)
    assert all(module.training for module in loaded.modules())  # from_pretrained leaves it in evaluation mode
    text = ids()
    assert torch.equal(loaded.eval()(text, PADDING), original(text, PADDING))


def test_description_rebuilds_the_architecture_without_the_folder(family: str, tmp_path: Path) -> None:
    original = TextEncoder(DESCRIPTIONS[family]).eval()
    folder = folder_of(original, tmp_path / "encoder")
    description = describe_text_encoder(folder)
    (tmp_path / "encoder").rename(tmp_path / "gone")
    rebuilt = TextEncoder(description).eval()
    text = ids()
    assert not torch.equal(rebuilt(text, PADDING), original(text, PADDING))  # random until a checkpoint fills it
    rebuilt.load_state_dict(original.state_dict())
    assert torch.equal(rebuilt(text, PADDING), original(text, PADDING))


def test_half_precision_on_disk_becomes_float32(tmp_path: Path) -> None:
    encoder = TextEncoder(DESCRIPTIONS["bert"])
    encoder.model.half()
    folder = folder_of(encoder, tmp_path)
    description = describe_text_encoder(folder)
    for loaded in (TextEncoder(description, folder), TextEncoder(description)):
        assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


@pytest.mark.parametrize("fault", ["missing", "mismatched", "unreadable", "no weights", "no folder"])
def test_a_folder_that_does_not_cover_the_encoder_is_refused(family: str, fault: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "encoder"
    folder_of(TextEncoder(DESCRIPTIONS[family]), folder)
    description, path = describe_text_encoder(str(folder)), folder / "model.safetensors"
    weights = load_file(path)
    name = max(name for name in weights if "layer" in name and name.endswith("weight"))
    if fault == "missing":
        save_file({key: value for key, value in weights.items() if key != name}, path, metadata={"format": "pt"})
    elif fault == "mismatched":
        save_file({**weights, name: torch.zeros(3, 3)}, path, metadata={"format": "pt"})
    elif fault == "unreadable":
        path.write_bytes(path.read_bytes()[:100])
    elif fault == "no weights":
        path.unlink()
    else:
        folder.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="encoder" if fault != "missing" else name):
        TextEncoder(description, str(folder))


def test_a_missing_pooler_is_no_fault(tmp_path: Path) -> None:
    """BERT's pooler is thrown away, so weights without one are whole."""
    from safetensors.torch import load_file

    folder = folder_of(TextEncoder(DESCRIPTIONS["bert"]), tmp_path)
    assert not any("pooler" in name for name in load_file(tmp_path / "model.safetensors"))
    encoder = TextEncoder(describe_text_encoder(folder), folder)
    assert not any("pooler" in name for name in encoder.state_dict())


@pytest.mark.parametrize("name", ["/no/such/folder", "nobody/no-such-model", ""])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="model.text_encoder"):
        describe_text_encoder(name)


def test_a_folder_without_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here", encoding="utf-8")
    with pytest.raises(DataError, match=str(tmp_path)):
        describe_text_encoder(str(tmp_path))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["t5", "mt5", "bert"])
def test_a_ready_made_mask_gives_the_states_of_one_row_per_text(name: str, attention: str) -> None:
    """The mask that asks the GPU nothing, against the row of zeros and ones the models otherwise make theirs from."""
    description = json.dumps({**json.loads(DESCRIPTIONS["bert" if name == "bert" else "t5"]), "model_type": name})
    encoder = TextEncoder(description).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    try:
        encoder.model.set_attn_implementation(attention)
    except AttributeError:
        pass  # an older transformers has one kind of attention
    text = ids()
    for padding in (PADDING, torch.zeros_like(PADDING)):
        expected = encoder.model(input_ids=text, attention_mask=(~padding).long()).last_hidden_state
        torch.testing.assert_close(encoder(text, padding)[~padding], expected[~padding], rtol=1e-6, atol=1e-6)


def test_no_family_but_the_first_deberta_reads_a_number_back() -> None:
    """DeBERTa (not V2 and V3) computes its scales as numbers on the CPU in transformers 5; none comes from the GPU."""
    from benchmarks.harness.waits import WaitCounter

    for name in sorted(set(DESCRIPTIONS) - {"deberta"}):
        encoder, text = TextEncoder(DESCRIPTIONS[name]), ids()
        assert WaitCounter.count(lambda: encoder(text, PADDING).sum().backward()) == 0, name  # noqa: B023


def test_the_pooler_is_kept_on_request_and_must_be_there(tmp_path: Path) -> None:
    kept = TextEncoder(DESCRIPTIONS["bert"], pooler=True).eval()
    text = ids()
    states = kept(text, PADDING)
    torch.testing.assert_close(kept.pool(text, PADDING, "pooler"), kept.model.pooler.dense(states[:, 0]).tanh())
    folder = folder_of(kept, tmp_path / "with")
    loaded = TextEncoder(describe_text_encoder(folder), folder, pooler=True).eval()
    assert torch.equal(loaded.pool(text, PADDING, "pooler"), kept.pool(text, PADDING, "pooler"))
    folder = folder_of(TextEncoder(DESCRIPTIONS["bert"]), tmp_path / "without")
    with pytest.raises(DataError, match="pooler.dense"):
        TextEncoder(describe_text_encoder(folder), folder, pooler=True)
    with pytest.raises(DataError, match="t5 text encoder has no pooler"):
        TextEncoder(DESCRIPTIONS["t5"], pooler=True)


def test_frozen_layers_keep_still_and_free_ones_train(family: str) -> None:
    text = ids()
    for free in (0, 1, 2):
        encoder = TextEncoder(DESCRIPTIONS[family])
        encoder.freeze(free)
        for mode in (False, True):
            encoder.train(mode)
            training = {name.split(".")[0] for name, module in encoder.model.named_modules() if module.training}
            assert bool(training) == (mode and free > 0)
        states = encoder(text, PADDING)
        assert states.requires_grad == (free > 0)
        if free:
            states.square().sum().backward()
        trained = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
        assert trained == {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
        assert bool(trained) == (free > 0) and not any("embed" in name for name in trained if "rel" not in name)
    with pytest.raises(DataError, match="3 free layers of a text encoder that has 2"):
        TextEncoder(DESCRIPTIONS[family]).freeze(3)


def test_a_fingerprint_is_that_of_the_function(family: str, tmp_path: Path) -> None:
    encoder = TextEncoder(DESCRIPTIONS[family])
    fingerprint = encoder.fingerprint()
    folder = folder_of(encoder, tmp_path)
    assert TextEncoder(describe_text_encoder(folder), folder).eval().fingerprint() == fingerprint
    assert TextEncoder(DESCRIPTIONS[family]).fingerprint() != fingerprint
    with torch.no_grad():
        next(encoder.model.parameters())[-1, -1] += 1e-4
    assert encoder.fingerprint() != fingerprint
