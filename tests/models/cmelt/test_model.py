"""The whole model on tiny sizes: what comes out, what a loss reaches, and what may not change an embedding."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import torch
from tiny import VOCAB, tiny_model
from torch import Tensor

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.base import ECGTextModel
from cmelt_plugin.models.building import build_from_config
from cmelt_plugin.models.cmelt.model import OBJECTIVES
from cmelt_plugin.modules.pooling.tokens import pool_ecg_states

N_TOKENS = 312


def inputs(rows: int = 3, length: int = 7, seed: int = 0) -> dict[str, Any]:
    """A batch of random records; the last text is shorter, one word in each text is masked."""
    generator = torch.Generator().manual_seed(seed)
    padding = torch.zeros(rows, length, dtype=torch.bool)
    padding[-1, 4:] = True
    mlm_mask = torch.zeros_like(padding)
    mlm_mask[:, 1] = True
    return {
        "ecg": torch.randn(rows, 12, 5000, generator=generator),
        "text": torch.randint(3, 58, (rows, length), generator=generator).masked_fill(padding, 0),
        "text_padding_mask": padding,
        "mem_noise": torch.randint(0, 2**31, (rows, N_TOKENS), generator=generator),
        "mlm_mask": mlm_mask,
    }


@pytest.fixture(scope="module")
def model():
    """Weights ten times the initial ones, or an input that should not matter would hardly show if it did."""
    torch.manual_seed(0)
    model = tiny_model()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def test_outputs_have_the_names_and_shapes_of_the_docstring(model) -> None:
    out = model(**inputs())
    shapes = {name: tuple(tensor.shape) for name, tensor in out.items()}
    assert shapes == {
        "ecg_embedding": (3, 32),
        "text_embedding": (3, 32),
        "logit_scale": (),
        "logit_bias": (),
        "mlm_logits": (3, VOCAB),
        "mem_prediction": (3, N_TOKENS, 12 * 16),
        "mem_mask": (3, N_TOKENS),
        "etm_logits": (3,),
    }
    assert out["mem_mask"].sum(1).tolist() == [234] * 3  # 75 % of 312
    assert model.n_ecg_tokens == N_TOKENS


def test_nothing_is_masked_where_no_mask_is_given(model) -> None:
    batch = inputs()
    out = model(batch["ecg"], batch["text"], batch["text_padding_mask"])
    assert set(out) == {"ecg_embedding", "text_embedding", "logit_scale", "logit_bias", "etm_logits"}
    torch.testing.assert_close(out["ecg_embedding"], model.embed_ecg(batch["ecg"]).mean)
    torch.testing.assert_close(out["text_embedding"], model.embed_text(batch["text"], batch["text_padding_mask"]).mean)


OUTPUTS_OF = {
    "mlm": {"mlm_logits"},
    "mem": {"mem_prediction", "mem_mask"},
    "etm": {"etm_logits"},
    "siglep": {"ecg_embedding", "text_embedding", "logit_scale", "logit_bias"},
}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_objective_alone_gives_its_outputs_and_the_same_values(model, objective: str) -> None:
    alone, together = model(**inputs(), objectives=(objective,)), model(**inputs())
    assert set(alone) == OUTPUTS_OF[objective]
    for name, tensor in alone.items():
        torch.testing.assert_close(tensor, together[name])


def gradients_of(model, *names: str, **options: Any) -> set[str]:
    """Parameters that a random combination of the named outputs reaches."""
    model.zero_grad()
    out = model(**inputs(), **options)
    sum((out[name] * torch.randn(out[name].shape)).sum() for name in names).backward()
    return {name for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_siglep_alone_skips_the_fusion_module() -> None:
    model = tiny_model()
    model.fusion.register_forward_hook(lambda *_: pytest.fail("the fusion module was run"))
    reached = gradients_of(model, "ecg_embedding", "text_embedding", "logit_scale", "logit_bias", objectives=("siglep",))
    skipped = ("fusion.", "fused_text_pooler.", "fused_ecg_pooler.", "mlm_head.", "mem_head.", "etm_head.")
    assert not [name for name in reached if name.startswith(skipped)]
    everything = {name for name, _ in tiny_model().named_parameters()}
    assert {name for name in everything if not name.startswith(skipped)} == reached


def test_a_padded_record_is_the_record_cut(model) -> None:
    """Embedding, matching and reconstruction, where three quarters of its own tokens are hidden."""
    batch = {name: tensor[:2] for name, tensor in inputs().items()}
    padded = model(**batch, n_samples=torch.tensor([5000, 3500]))
    n_tokens = model.ecg_encoder.n_tokens(3500)
    short = {name: tensor[1:] for name, tensor in batch.items()}
    short["ecg"], short["mem_noise"] = short["ecg"][..., :3500], short["mem_noise"][:, :n_tokens]
    alone = model(**short)
    assert torch.equal(padded["mem_mask"][1, :n_tokens], alone["mem_mask"][0]) and not padded["mem_mask"][1, n_tokens:].any()
    torch.testing.assert_close(padded["mem_prediction"][1, :n_tokens], alone["mem_prediction"][0], rtol=1e-4, atol=1e-4)
    for name in ("ecg_embedding", "etm_logits"):
        torch.testing.assert_close(padded[name][1:], alone[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "changes", [{}, {"mem_decoder_conv_pos": 9}, {"text_pool": "first"}, {"mem_layer": -1}, {"feature_grad_mult": 0.0}]
)
def test_all_outputs_together_reach_every_parameter(changes: dict[str, Any]) -> None:
    """Data-parallel training waits for a gradient of every parameter that asks for one."""
    model = tiny_model(**changes)
    outputs = set.union(*OUTPUTS_OF.values()) - {"mem_mask"}
    reached = gradients_of(model, *sorted(outputs))
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == reached


def test_mlm_logits_are_those_of_the_masked_positions(model) -> None:
    batch = inputs()
    everywhere = model(**{**batch, "mlm_mask": ~batch["text_padding_mask"]})["mlm_logits"]
    places = (~batch["text_padding_mask"]).flatten().cumsum(0).view(3, 7) - 1
    torch.testing.assert_close(model(**batch)["mlm_logits"], everywhere[places[batch["mlm_mask"]]])


def test_no_masked_word_is_no_error(model) -> None:
    batch = inputs()
    batch["mlm_mask"] = torch.zeros_like(batch["mlm_mask"])
    assert model(**batch)["mlm_logits"].shape == (0, VOCAB)


def test_masked_leads_are_not_seen(model) -> None:
    batch = inputs()
    lead_mask = torch.zeros(3, 12, dtype=torch.bool)
    lead_mask[:, 4] = lead_mask[0, 7] = True
    other = batch["ecg"] + 3.0 * lead_mask.unsqueeze(-1) * torch.randn(3, 12, 5000)
    first, second = (model(**{**batch, "ecg": ecg}, lead_mask=lead_mask) for ecg in (batch["ecg"], other))
    for name in first:
        torch.testing.assert_close(first[name], second[name])
    seen = model(**{**batch, "ecg": other})
    assert not torch.allclose(seen["ecg_embedding"], first["ecg_embedding"], atol=1e-3)


def test_padding_of_a_short_record_is_neither_read_nor_reconstructed(model) -> None:
    batch = inputs()
    n_samples = torch.tensor([5000, 3500, 800])
    beyond = torch.arange(5000) >= n_samples[:, None, None]
    zeros = batch["ecg"].masked_fill(beyond, 0.0)
    garbage = torch.where(beyond, torch.tensor(9.0), zeros)
    clean, dirty = (model(**{**batch, "ecg": ecg}, n_samples=n_samples) for ecg in (zeros, garbage))
    assert clean["mem_mask"].sum(1).tolist() == [234, 218 - 54, 50 - 12]  # 75 % of the whole tokens of each record
    real = ~model.ecg_encoder.token_padding_mask(n_samples, N_TOKENS)
    torch.testing.assert_close(clean.pop("mem_prediction")[real], dirty.pop("mem_prediction")[real])
    for name in clean:
        torch.testing.assert_close(clean[name], dirty[name])


def test_text_padding_changes_nothing(model) -> None:
    batch = inputs()
    longer = dict(batch)
    for name, filler in (("text", 0), ("text_padding_mask", True), ("mlm_mask", False)):
        columns = torch.full((3, 5), filler, dtype=batch[name].dtype)
        longer[name] = torch.cat([batch[name], columns], dim=1)
    longer["text"][:, -2:] = 17  # whatever stands there
    first, second = model(**batch), model(**longer)
    for name in first:
        torch.testing.assert_close(first[name], second[name], msg=lambda text, name=name: f"{name}: {text}")


def test_batch_mates_change_nothing(model) -> None:
    batch, mates = inputs(), inputs(seed=1)
    both = {name: torch.cat([batch[name], mates[name]]) for name in batch}
    n_samples = torch.tensor([5000] * 3 + [5000, 700, 2000])
    alone, beside = model(**batch), model(**both, n_samples=n_samples)
    for name in alone:
        rows = beside[name] if beside[name].ndim == 0 else beside[name][:3]
        torch.testing.assert_close(alone[name], rows)


@pytest.mark.parametrize("score", ["cosine", "product"])
@pytest.mark.parametrize("normalise", [True, False])
def test_scores_are_what_the_configuration_says_whatever_training_compares(score: str, normalise: bool) -> None:
    torch.manual_seed(0)
    model, batch = tiny_model(normalise_embeddings=normalise, score=score).eval(), inputs()
    ecg = model.embed_ecg(batch["ecg"])
    text = model.embed_text(batch["text"], batch["text_padding_mask"])
    raw_ecg = model.ecg_projection(model.ecg_encoder(batch["ecg"]).states)
    raw_text = model.text_projection(model.text_encoder(batch["text"], batch["text_padding_mask"]), batch["text_padding_mask"])
    product = raw_ecg @ raw_text.T
    norms = raw_ecg.norm(dim=-1)[:, None] * raw_text.norm(dim=-1)
    torch.testing.assert_close(model.similarity(ecg, text), product if score == "product" else product / norms)
    assert ecg.mean.dtype == text.mean.dtype == torch.float32
    assert torch.allclose(text.mean.norm(dim=-1), torch.ones(3)) == (score == "cosine")
    # Training is another matter.
    out = model(**{**batch, "mem_noise": None}, objectives=("siglep",))
    assert torch.allclose(out["ecg_embedding"].norm(dim=-1), torch.ones(3)) == normalise
    assert (model.match_probability(torch.zeros(1)) is None) == (normalise != (score == "cosine"))
    # The texts of a class count alike: the direction between them, or the mean of their scores.
    group = torch.tensor([1, 0, 1])
    classes = model.similarity(ecg, model.ensemble(text, group, 2))
    if score == "product":
        torch.testing.assert_close(classes, torch.stack([product[:, 1], product[:, [0, 2]].mean(dim=1)], dim=1))
    else:
        assert classes.abs().max() <= 1.0 + 1e-6
        torch.testing.assert_close(classes[:, 0], (product / norms)[:, 1])


def test_a_score_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="model.score must be one of cosine, product, not 'distance'"):
        tiny_model(score="distance")


def test_features_are_the_encoders_states_before_any_projection(model) -> None:
    batch, n_samples = inputs(), torch.tensor([5000, 3500, 5000])
    encoded = model.ecg_encoder(batch["ecg"], n_samples)
    assert torch.equal(model.ecg_features(batch["ecg"], n_samples), encoded.states[:, 0])
    mean = pool_ecg_states(encoded.states, encoded.padding_mask, "mean")
    assert torch.equal(model.ecg_features(batch["ecg"], n_samples, "mean"), mean)
    assert model.pools == ("cls", "mean") and isinstance(model, ECGTextModel)
    assert model.layers() == list(model.ecg_encoder.encoder.layers) and model.signal.normalisation == "none"


def test_half_precision_model_gives_float32_embeddings() -> None:
    model, batch = tiny_model().eval().bfloat16(), inputs()
    out = model(**{**batch, "ecg": batch["ecg"].bfloat16()}, objectives=("siglep",))
    assert {tensor.dtype for tensor in out.values()} == {torch.float32}
    torch.testing.assert_close(out["ecg_embedding"].norm(dim=-1), torch.ones(3))


def test_text_pool_is_of_the_projection_and_of_the_matching_head() -> None:
    model = tiny_model(text_pool="first")
    assert (model.text_projection.pool, model.fused_text_pooler.pool) == ("first", "first")
    assert (model.ecg_projection.pool, model.fused_ecg_pooler.pool) == ("first", "first")
    assert tiny_model().text_projection.pool == "mean"


def weights(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return tiny_model().state_dict()


def test_same_seed_same_weights_other_seed_other_weights() -> None:
    first, again, other = weights(3), weights(3), weights(4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    random = [name for name, tensor in first.items() if tensor.unique().numel() > 1]
    assert len(random) > 40
    assert not [name for name in random if torch.equal(first[name], other[name])]


def test_a_checkpoint_from_before_the_newer_settings_is_the_model_it_was() -> None:
    """It says nothing of them: no positions in the decoder of masked ECG modelling, those of the encoder as in the release."""
    torch.manual_seed(0)
    trained = tiny_model(mem_decoder_conv_pos=0, masked_tokens_in_positions=True).eval()
    values = {**asdict(trained.cfg), "_name": "cmelt"}
    newer = ("mem_decoder_conv_pos", "mem_decoder_conv_pos_groups", "mem_decoder_zero_output", "masked_tokens_in_positions")
    for name in newer:
        del values[name]
    opened = build_from_config(values, trained.state_dict(), "checkpoint")
    first, second = trained(**inputs()), opened(**inputs())
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(DataError, match="mem_head.conv_pos"):
        build_from_config({**values, "mem_decoder_conv_pos": 9}, trained.state_dict(), "checkpoint")
