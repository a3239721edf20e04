"""The key map of MERL's published weights: strict both ways, and each difference by its formula."""

from __future__ import annotations

import pytest
import torch
from tiny_merl import ENCODERS, batch, release_weights
from torch import Tensor

from cmelt_plugin.data.leads import MIMIC_IV_ECG_LEADS, lead_indices
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.merl.config import MERLConfig
from cmelt_plugin.models.merl.model import MERL
from cmelt_plugin.models.merl.released import UNUSED, convert, our_settings


class Loading:
    loading_checkpoint = True


@pytest.fixture(scope="module", params=sorted(ENCODERS))
def weights(request) -> dict[str, Tensor]:
    return release_weights(request.param)


def model_of(weights: dict[str, Tensor]) -> MERL:
    model = MERL.build_model(MERLConfig(**our_settings(weights, {"ecg_heads": 2, "text_heads": 4})), Loading())
    model.load_state_dict(convert(weights), strict=True)
    return model.eval()


def test_every_weight_of_ours_is_set_and_every_one_of_theirs_is_used(weights) -> None:
    ours = set(model_of(weights).state_dict())
    same = convert(weights)
    assert set(same) == ours
    for name in set(weights) - set(UNUSED):
        less = {key: value for key, value in weights.items() if key != name}
        try:
            assert set(convert(less)) != ours
        except DataError as error:
            assert name in str(error)
        changed = convert({**weights, name: weights[name] + 1})
        assert any(not torch.equal(changed[key], same[key]) for key in same), f"{name} has no effect"


def test_the_dead_linear_layer_of_the_saved_encoder_is_dropped_whatever_its_size(weights) -> None:
    """D-R12: with it, the release's own fine-tuning fails for every number of classes but 10."""
    expected = convert(weights)
    for outputs in (10, 71):
        dead = {"ecg_encoder.linear.weight": torch.randn(outputs, 32), "ecg_encoder.linear.bias": torch.randn(outputs)}
        state = convert({**weights, **dead})
        assert set(state) == set(expected) and all(torch.equal(state[name], expected[name]) for name in state)


def test_unknown_and_missing_weights_are_refused(weights) -> None:
    with pytest.raises(DataError, match="does not know: ecg_encoder.extra.weight"):
        convert({**weights, "ecg_encoder.extra.weight": torch.zeros(2)})
    for name in ("proj_t.0.weight", "lm_model.embeddings.word_embeddings.weight"):
        with pytest.raises(DataError, match=f"lack {name}"):
            our_settings({key: value for key, value in weights.items() if key != name})


def test_names_of_data_parallel_training_and_an_old_index_table_are_understood(weights) -> None:
    prefixed = {f"module.{name}": tensor for name, tensor in weights.items()}
    prefixed["module.lm_model.embeddings.position_ids"] = torch.arange(64)[None]
    expected = convert(weights)
    state = convert(prefixed)
    assert set(state) == set(expected) and all(torch.equal(state[name], expected[name]) for name in state)
    heads = {"ecg_heads": 2, "text_heads": 4}
    assert our_settings(prefixed, heads) == our_settings(weights, heads)


def test_leads_are_permuted_by_name(weights) -> None:
    order = lead_indices(MIMIC_IV_ECG_LEADS)
    assert [MIMIC_IV_ECG_LEADS[place] for place in order[3:6]] == ["aVR", "aVL", "aVF"]
    first = next(name for name in ("ecg_encoder.conv1.weight", "ecg_encoder.to_patch_embedding.weight") if name in weights)
    theirs = weights[first]
    ours = next(tensor for name, tensor in convert(weights).items() if tensor.shape == theirs.shape)
    assert torch.equal(ours[:, 4], theirs[:, 5]) and torch.equal(ours[:, 5], theirs[:, 4])
    assert torch.equal(ours[:, [0, 1, 2, 3, *range(6, 12)]], theirs[:, [0, 1, 2, 3, *range(6, 12)]])


def test_released_weights_read_their_own_normalisation_and_temperature(weights) -> None:
    model = model_of(weights)
    assert model.cfg.normalisation == "min_max" and model.cfg.text_pool == "pooler" and model.text_is_cacheable
    assert float(model.logit_scale) == pytest.approx(1 / 0.07) and not model.log_logit_scale.requires_grad
    signal = batch(samples=5000)["ecg"]
    with torch.no_grad():  # amplitudes and offsets are lost in it
        torch.testing.assert_close(model.embed_ecg(signal).mean, model.embed_ecg(3 * signal - 0.2).mean, rtol=1e-3, atol=1e-4)


def test_sizes_of_the_published_models_need_no_configuration() -> None:
    wide = {"ecg_encoder.conv1.weight": (64, 12, 7), "ecg_encoder.layer1.0.conv1.weight": (64, 64, 3)}
    vit = {"ecg_encoder.to_patch_embedding.weight": (192, 12, 50)}
    vit.update({f"ecg_encoder.block{i}.attn.fn.to_qkv.weight": (576, 192) for i in range(12)})
    text = {
        "proj_t.0.weight": (256, 768),
        "proj_t.2.weight": (256, 256),
        "lm_model.embeddings.word_embeddings.weight": (30522, 768),
        "lm_model.embeddings.position_embeddings.weight": (512, 768),
        "lm_model.embeddings.token_type_embeddings.weight": (2, 768),
        "lm_model.encoder.layer.0.intermediate.dense.weight": (3072, 768),
        **{f"lm_model.encoder.layer.{i}.attention.self.query.weight": (768, 768) for i in range(12)},
    }
    for shapes, encoder in ((wide, "resnet18"), (vit, "vit_tiny")):
        tensors = {name: torch.empty(shape, device="meta") for name, shape in {**shapes, **text}.items()}
        published, named = MERLConfig(**our_settings(tensors)), MERLConfig(ecg_encoder=encoder)
        sizes = {"ecg_width": 64} if encoder == "resnet18" else {"ecg_width": 192, "ecg_layers": 12, "ecg_heads": 3}
        assert {name: getattr(published, name) for name in sizes} == sizes
        assert (published.ecg_encoder, published.embed_dim, published.projection_dim) == (encoder, 256, 256)
        assert (named.embed_dim, named.projection_dim) == (256, 256)
