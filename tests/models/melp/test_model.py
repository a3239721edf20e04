"""MELP: shapes, padding, what may see what, frozen layers, captions, and faults of the release that it does not have."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from compiled import traced_graphs
from tiny_melp import BEGIN, END, SUMMARY, TEXT_ENCODERS, TINY_BERT, TINY_MELP, batch, tiny_melp
from torch import Tensor

from benchmarks.harness.waits import WaitCounter
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.building import check_fits
from cmelt_plugin.models.classifier.config import ClassifierConfig
from cmelt_plugin.models.classifier.model import Classifier
from cmelt_plugin.models.melp.config import MELPConfig
from cmelt_plugin.models.melp.model import MELP


@pytest.fixture(params=sorted(TEXT_ENCODERS))
def text(request) -> str:
    return request.param


@pytest.fixture(params=["wav2vec", "resnet18"])
def tower(request) -> str:
    return request.param


def total(out: dict[str, Tensor]) -> Tensor:
    """Something every output takes part in."""
    parts = [out[name].square().sum() for name in ("beats", "sentences", "logit_scale")]
    parts += [(out["ecg_embedding"] @ out["text_embedding"].T).trace(), out["caption_logits"].log_softmax(-1)[..., 3].sum()]
    return torch.stack(parts).sum()


def test_outputs(text: str, tower: str) -> None:
    model = tiny_melp(text, ecg_tower=tower).eval()
    sample = batch(text)
    out = model(**sample)
    read = sample["text"].shape[1] + (1 if text == "bert" else 2)
    shapes = {
        "ecg_embedding": (4, 16),
        "text_embedding": (4, 16),
        "beats": (4, 5, 16),
        "sentences": (4, 3, 16),
        "caption_logits": (4, read - 2, 60),
        "caption_labels": (4, read - 2),
        "logit_scale": (),
        "beat_scale": (),
        "sentence_padding_mask": (4, 3),
    }
    assert {name: tuple(value.shape) for name, value in out.items()} == shapes
    assert all(value.dtype == torch.float32 for name, value in out.items() if value.is_floating_point())
    for name in ("ecg_embedding", "text_embedding"):
        torch.testing.assert_close(out[name].norm(dim=1), torch.ones(4))
    torch.testing.assert_close(model.embed_ecg(sample["ecg"]).mean, out["ecg_embedding"])
    torch.testing.assert_close(model.embed_text(sample["text"], sample["text_padding_mask"]).mean, out["text_embedding"])
    # Each objective alone gives what it gives beside the others.
    for objective, names in {
        "clip": {"ecg_embedding", "text_embedding", "logit_scale"},
        "local": {"beats", "sentences", "sentence_padding_mask", "beat_scale"},
        "caption": {"caption_logits", "caption_labels"},
    }.items():
        alone = model(**sample, objectives=(objective,))
        assert set(alone) == names and all(torch.equal(alone[name], out[name]) for name in names)
    del sample["sentence_spans"]
    with pytest.raises(ValueError, match="needs sentence_spans"):
        model(**sample)


def test_a_padded_record_is_one_that_is_cut(tower: str) -> None:
    model, sample = tiny_melp(ecg_tower=tower).eval(), batch()
    n_samples = torch.tensor([800, 800, 500, 370])
    for row, n in enumerate(n_samples.tolist()):
        sample["ecg"][row, :, n:] = 50.0  # what stands there reaches nothing
    padded = model(**sample, n_samples=n_samples)
    features = {pool: model.ecg_features(sample["ecg"], n_samples, pool) for pool in model.pools}
    attention = model.beat_attention(sample["ecg"], n_samples)
    for row, n in enumerate(n_samples.tolist()):
        one = {name: value[row : row + 1] for name, value in sample.items()}
        one["ecg"] = one["ecg"][..., :n]
        cut = model(**one)
        for name in ("ecg_embedding", "beats", "caption_logits"):
            torch.testing.assert_close(padded[name][row], cut[name][0], rtol=1e-4, atol=1e-5, msg=name)
        for pool in model.pools:
            torch.testing.assert_close(features[pool][row], model.ecg_features(one["ecg"], None, pool)[0], rtol=1e-4, atol=1e-5)
        expected = model.beat_attention(one["ecg"])[0]
        torch.testing.assert_close(attention[row, :, : expected.shape[1]], expected, rtol=1e-4, atol=1e-5)
        assert not attention[row, :, expected.shape[1] :].any()


def test_texts_do_not_depend_on_those_beside_them(text: str) -> None:
    model, sample = tiny_melp(text).eval(), batch(text)
    out = model(**sample)
    for row in range(4):
        length = int((~sample["text_padding_mask"][row]).sum())
        n_sentences = int((~sample["sentence_padding_mask"][row]).sum())
        one = {name: value[row : row + 1] for name, value in sample.items()}
        alone = model(
            one["ecg"],
            one["text"][:, :length],
            None,
            sentence_spans=one["sentence_spans"][:, :n_sentences],
        )
        torch.testing.assert_close(alone["text_embedding"][0], out["text_embedding"][row], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(alone["sentences"][0], out["sentences"][row, :n_sentences], rtol=1e-5, atol=1e-5)
        written = alone["caption_labels"].shape[1]
        assert torch.equal(alone["caption_labels"][0], out["caption_labels"][row, :written])
        assert (out["caption_labels"][row, written:] == -100).all() and (alone["caption_labels"] >= 0).all()
        torch.testing.assert_close(alone["caption_logits"][0], out["caption_logits"][row, :written], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", ["dynamic", "released"])
def test_no_word_is_told_to_the_captioner_before_it_is_to_be_written(text: str, layout: str) -> None:
    model, sample = tiny_melp(text, text_layout=layout).eval(), batch(text)
    first = int(text == "bert")
    expected = model(**sample)
    for place in range(first, 5):
        changed = {**sample, "text": sample["text"].clone()}
        changed["text"][:, place] = (sample["text"][:, place] + 11) % 50 + 5
        found = model(**changed)
        written = place + 1 - first  # the logits that predict this word, and those after it
        assert torch.equal(found["caption_logits"][:, :written], expected["caption_logits"][:, :written])
        assert not torch.allclose(found["caption_logits"][0, written], expected["caption_logits"][0, written], atol=1e-4)
        before = sample["sentence_spans"][..., 1] <= place
        assert torch.equal(found["sentences"][before], expected["sentences"][before])


def test_captions_and_sentences_depend_on_what_they_should() -> None:
    model, sample = tiny_melp().eval(), batch()
    expected, found = model(**sample), model(**{**sample, "ecg": sample["ecg"].flip(0)})
    assert (found["caption_logits"] - expected["caption_logits"]).abs().amax((1, 2)).min() > 1e-3
    assert torch.equal(found["sentences"], expected["sentences"])
    assert torch.equal(found["text_embedding"], expected["text_embedding"])


def test_masked_leads_are_zeros_whatever_is_done_to_amplitudes() -> None:
    model, sample = tiny_melp(normalisation="min_max").eval(), batch()
    mask = torch.zeros(4, 12, dtype=torch.bool)
    mask[1, [0, 5]] = True
    found, expected = model(**sample, lead_mask=mask), model(**sample)
    assert torch.equal(found["beats"][0], expected["beats"][0]) and not torch.allclose(found["beats"][1], expected["beats"][1])
    changed = {**sample, "ecg": sample["ecg"].clone()}
    changed["ecg"][1, [0, 5]] = changed["ecg"][1, 3].clone()
    torch.testing.assert_close(model(**changed, lead_mask=mask)["beats"], found["beats"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", ["dynamic", "released"])
def test_states_of_frozen_layers_can_be_kept(text: str, layout: str) -> None:
    """D-M21: one text at a time, padded together later, they give the same loss and gradients."""
    model, sample = tiny_melp(text, text_layout=layout).eval(), batch(text)
    assert model.text_is_cacheable == (layout == "dynamic")  # padding is not worth keeping
    lengths = (~sample["text_padding_mask"]).sum(1).tolist()
    kept = [model.lower_text_states(sample["text"][row : row + 1, :n]) for row, n in enumerate(lengths)]
    n_read = max(states.shape[1] for states in kept)
    states = torch.cat([torch.nn.functional.pad(one, (0, 0, 0, n_read - one.shape[1])) for one in kept])
    assert not states.requires_grad
    gradients = []
    for given in (None, states):
        model.zero_grad()
        out = model(**sample, text_states=given)
        real = out["caption_labels"] >= 0
        loss = (
            out["caption_logits"][real].square().mean() + out["sentences"].square().mean() + out["text_embedding"][:, 0].sum()
        )
        loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and any("text_encoder" in name for name in gradients[0])
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    expected = model(**sample)["text_embedding"]
    for kept_as, trained_as in ((torch.float16, torch.float32), (torch.float32, torch.bfloat16)):
        found = model.to(trained_as)(**sample, text_states=states.to(kept_as))["text_embedding"]
        assert torch.cosine_similarity(found, expected).min() > 0.99
    assert not tiny_melp(text, text_free_embeddings=True).text_is_cacheable
    assert not tiny_melp(text, text_free_layers=-1).text_is_cacheable


def test_nothing_is_built_that_no_loss_reads(text: str, tower: str) -> None:
    """D-M9: neither a head for masked words nor wav2vec's parts for its own pre-training."""
    model = tiny_melp(text, ecg_tower=tower)
    out = model(**batch(text))
    (total(out) + out["beat_scale"]).backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert not any(part in name for name in model.state_dict() for part in ("cls.", "pooler.", "quantizer", "mask_emb"))
    fixed = tiny_melp(text, learn_beat_scale=False)
    assert {name for name, parameter in fixed.named_parameters() if not parameter.requires_grad} >= {"log_beat_scale"}


def test_every_width_reaches_the_tower() -> None:
    """D-M22: in the release the width of the embeddings is 256 in the tower, whatever is set."""
    model = tiny_melp(embed_dim=12, n_queries=3).eval()
    out = model(**batch())
    assert out["beats"].shape == (4, 3, 12) and out["ecg_embedding"].shape == out["text_embedding"].shape == (4, 12)
    assert model.beat_attention(batch()["ecg"]).shape == (4, 3, 50) and model.samples_per_token == 16


def test_one_number_of_queries_which_is_that_of_the_checkpoint() -> None:
    """D-M6: in the release it is 10, 12 or 13 by default, and 10 whenever weights are loaded."""
    model = tiny_melp(n_queries=7)
    values = {"_name": "melp", **TINY_MELP, **TEXT_ENCODERS["bert"]}
    check_fits({**values, "n_queries": 7}, model.state_dict(), "file.pt")
    with pytest.raises(DataError, match=r"contrast_pool.queries is \(7, 16\) and should be \(5, 16\)"):
        check_fits(values, model.state_dict(), "file.pt")


@pytest.mark.parametrize("pool", ["queries", "mean"])
def test_classifiers_have_the_width_of_their_features(pool: str, tower: str) -> None:
    """D-M17: the release's fine-tuning takes 1024 for it without its attention pool, and fails."""
    sizes = {name: getattr(MELPConfig(**TINY_MELP), name) for name in MELPConfig.encoder_sizes}
    cfg = ClassifierConfig(
        encoder="melp", **{**sizes, "ecg_tower": tower}, pool=pool, num_classes=3, class_names=["a", "b", "c"]
    )
    model = Classifier.build_model(cfg)
    out = model(batch()["ecg"])
    assert out["features"].shape == (4, 32 if (pool, tower) == ("mean", "wav2vec") else 16) and out["logits"].shape == (4, 3)
    out["logits"].square().sum().backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert any("contrast_pool" in name for name in trained) == (pool == "queries")
    whole = tiny_melp(ecg_tower=tower)
    model.ecg_encoder.load_state_dict(whole.encoder_weights(whole.state_dict()), strict=True)
    ecg = batch()["ecg"]
    assert torch.equal(model.eval().ecg_features(ecg), whole.eval().ecg_features(ecg, pool=pool))


def test_unknown_pools_and_towers_are_refused() -> None:
    with pytest.raises(ValueError, match="queries, mean, not 'cls'"):
        tiny_melp().ecg_features(batch()["ecg"], pool="cls")
    with pytest.raises(DataError, match="wav2vec, resnet18, not 'vit'"):
        tiny_melp(ecg_tower="vit")
    with pytest.raises(DataError, match="ResNet-18 has other weights"):
        tiny_melp(ecg_tower="resnet18", ecg_encoder_init="some.pt")


def test_the_configuration_is_filled_in_from_the_tokenizer(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    sizes = {name: value for name, value in TINY_BERT.items() if name != "model_type"}
    BertModel(BertConfig(**sizes)).save_pretrained(tmp_path)
    without = MELPConfig(text_encoder=str(tmp_path))
    with pytest.raises(DataError, match="set model.begin_token"):
        MELP.prepare_config(without)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = {name: index for index, name in enumerate([*special, *(f"word{number}" for number in range(50))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(tmp_path)
    cfg = MELPConfig(text_encoder=str(tmp_path))
    MELP.prepare_config(cfg)
    assert (cfg.begin_token, cfg.end_token, cfg.summary_token) == (2, 3, 2)
    assert json.loads(cfg.text_encoder_config)["hidden_size"] == 32
    chosen = MELPConfig(text_encoder=str(tmp_path), begin_token=5)
    MELP.prepare_config(chosen)
    assert (chosen.begin_token, chosen.end_token, chosen.summary_token) == (5, 3, 2)


# -- Captions -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=sorted(TEXT_ENCODERS))
def writer(request) -> tuple[str, MELP]:
    """Trained until it knows the four reports of a batch."""
    model = tiny_melp(request.param, text_free_layers=-1).eval()
    sample, optimizer = batch(request.param), torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        out = model(**sample, objectives=("caption",))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(out["caption_logits"].flatten(0, 1), out["caption_labels"].flatten()).backward()
        optimizer.step()
    return request.param, model


@pytest.mark.parametrize("beams", [1, 3])
def test_a_trained_captioner_writes_each_recordings_report(writer, beams: int) -> None:
    text, model = writer
    sample = batch(text)
    special = {model.layout.tokens.end, SUMMARY, 0} if text == "bert" else {model.layout.tokens.end, 0}
    reports = [[token for token in ids.tolist() if token not in special] for ids in sample["text"]]
    assert model.generate(sample["ecg"], beams=beams, max_tokens=12) == reports
    if beams == 1:
        assert model.generate(sample["ecg"], max_tokens=3) == [ids[:3] for ids in reports]


@pytest.mark.parametrize("beams", [1, 2, 5])
def test_captions_are_the_same_without_a_cache(writer, beams: int) -> None:
    """Of recordings it does not know, too, one of them padded; and each alone, cut and not padded."""
    text, model = writer
    ecg, n_samples = torch.cat([batch(text)["ecg"], batch(text, seed=1)["ecg"].flip(1)]), torch.full((8,), 800)
    n_samples[2], n_samples[6] = 500, 300
    found = model.generate(ecg, n_samples, beams=beams, max_tokens=12)
    assert found == model.generate(ecg, n_samples, beams=beams, max_tokens=12, use_cache=False)
    assert len(found) == 8 and all(len(ids) <= 12 for ids in found) and len({tuple(ids) for ids in found}) > 3
    for row in (2, 6):
        assert model.generate(ecg[row : row + 1, :, : n_samples[row]], beams=beams, max_tokens=12) == found[row : row + 1]


def test_captions_are_what_the_training_pass_calls_likeliest(writer) -> None:
    """Each word written is the argmax of the logits that the loss would see at its place."""
    text, model = writer
    ecg, tokens = batch(text, seed=1)["ecg"], model.layout.tokens
    for row, ids in enumerate(model.generate(ecg, max_tokens=9)):
        whole = [*([SUMMARY] if text == "bert" else []), *ids, tokens.end]
        logits = model(ecg[row : row + 1], torch.tensor([whole]), objectives=("caption",))["caption_logits"][0]
        logits[:, list({tokens.begin, tokens.summary, 0} - {tokens.end})] = float("-inf")
        expected = [*ids, *([tokens.end] if len(ids) < 9 else [])]
        assert logits.argmax(-1)[: len(expected)].tolist() == expected


def test_captions_are_written_without_dropout() -> None:
    """D-M13: the release writes them in training mode."""
    model, ecg = tiny_melp(dropout=0.5, attention_dropout=0.5, decoder_dropout=0.5), batch()["ecg"]
    expected = model.eval().generate(ecg, beams=2, max_tokens=10)
    model.train()
    assert all(model.generate(ecg, beams=2, max_tokens=10) == expected for _ in range(3))
    assert model.training and model.decoder.training and not model.text_encoder.causal_layers[0].training  # as it was: frozen


def test_captions_hold_words_alone() -> None:
    model, ecg = tiny_melp().eval(), batch()["ecg"]
    with torch.no_grad():
        model.decoder.layer_norm.bias.fill_(1.0)
        model.decoder.vocabulary.weight[[0, BEGIN, SUMMARY]] += 10.0
    assert all(not {0, BEGIN, SUMMARY, END} & set(ids) for ids in model.generate(ecg, max_tokens=8))
    assert max(map(len, tiny_melp().eval().generate(ecg, max_tokens=500))) <= 159  # places that the text encoder has


def test_temperatures_begin_where_they_are_set_and_stay_within_bounds() -> None:
    out = tiny_melp(beat_scale_init=4.0)(**batch())
    assert float(out["logit_scale"].detach()) == pytest.approx(1 / 0.07)
    assert float(out["beat_scale"].detach()) == pytest.approx(4.0)
    model = tiny_melp()
    with torch.no_grad():
        model.log_logit_scale.fill_(math.log(1000))
    scale = model(**batch(), objectives=("clip",))["logit_scale"]
    assert float(scale.detach()) == pytest.approx(100.0)


@pytest.mark.parametrize("padded", [False, True])
def test_a_step_waits_for_nothing(text: str, padded: bool) -> None:
    """On a GPU, reading a number back would halt the CPU."""
    model, sample = tiny_melp(text), batch(text)
    if padded:
        sample["n_samples"] = torch.tensor([800, 800, 350, 350])
    total(model(**sample)).backward()
    assert WaitCounter.count(lambda: total(model(**sample)).backward()) == 0


def test_compiled_layers_compute_the_same() -> None:
    """Of a BERT; the tests of every system compile a T5."""
    rates = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    still = {"dropout": 0.0, "attention_dropout": 0.0, "text_encoder_config": json.dumps({**TINY_BERT, **rates})}
    gradients = []
    for compiled in (False, True):
        with traced_graphs() as graphs:
            model = tiny_melp(compile=compiled, **still).train()
            total(model(**batch())).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        assert (len(graphs) >= 5) == compiled  # convolutions, layers of both towers, both kinds of the captioner's
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        scale = gradient.abs().max().clamp(min=1)
        torch.testing.assert_close(gradients[1][name] / scale, gradient / scale, rtol=1e-4, atol=1e-5, msg=name)
