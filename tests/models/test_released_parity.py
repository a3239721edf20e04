"""The modules compute what the authors' released model computes.

Three differences are bridged here: the release's projection heads read what the fusion module's projections wrote (ours
read the encoders, as the paper says; two linear maps in a row are one), its ETM head has two classes (ours is the
difference of their logits), and its MEM decoder uses x·sigmoid(1.702x) in place of GELU.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cmelt_plugin.models.cmelt import CMELT
from cmelt_plugin.models.cmelt_config import CMELTConfig
from cmelt_plugin.modules import transformer
from cmelt_plugin.modules.ecg_init import match_ecg_weights
from cmelt_plugin.modules.masking import TokenMask

# Release's name → ours, within a fusion layer.
LAYER_NAMES = {
    "attention.self.query": "self_attn.q_proj",
    "attention.self.key": "self_attn.k_proj",
    "attention.self.value": "self_attn.v_proj",
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "self_attn_layer_norm",
    "crossattention.self.query": "cross_attn.q_proj",
    "crossattention.self.key": "cross_attn.k_proj",
    "crossattention.self.value": "cross_attn.v_proj",
    "crossattention.output.dense": "cross_attn.out_proj",
    "crossattention.output.LayerNorm": "cross_attn_layer_norm",
    "intermediate.dense": "fc1",
    "output.dense": "fc2",
    "output.LayerNorm": "final_layer_norm",
}
# Release's name → ours, outside the fusion layers.
NAMES = {
    "multi_modal_language_proj": "fusion.text_proj",
    "multi_modal_ecg_proj": "fusion.ecg_proj",
    "modality_type_embeddings": "fusion.modality_type",
    "multi_modal_language_pooler.dense": "fused_text_pooler.dense",
    "multi_modal_ecg_pooler.dense": "fused_ecg_pooler.dense",
    "mlm_head.transform.dense": "mlm_head.dense",
    "mlm_head.transform.LayerNorm": "mlm_head.layer_norm",
    "mlm_head.decoder": "mlm_head.decoder",
    "mim_head.decoder_embed": "mem_head.embed",
    "mim_head.decoder_norm": "mem_head.decoder.layer_norm",
    "mim_head.decoder_pred": "mem_head.predict",
}
MEM_LAYER_NAMES = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "self_attn_layer_norm",
    "ln_2": "final_layer_norm",
    "mlp.c_fc": "fc1",
    "mlp.c_proj": "fc2",
}
STACKS = {"multi_modal_language_layers": "fusion.text_layers", "multi_modal_ecg_layers": "fusion.ecg_layers"}


def our_name(name: str) -> str:
    """Where a weight of the release goes that needs a new name and nothing else."""
    if name == "mlm_head.bias":
        return "mlm_head.decoder.bias"
    if name == "mim_head.mask_token":
        return "mem_head.mask_token"
    if name == "class_embedding":
        return "ecg_encoder.class_embedding"
    if name.startswith("language_encoder."):
        return "text_encoder.model." + name[len("language_encoder.") :]
    stem, _, kind = name.rpartition(".")
    stack, _, rest = stem.partition(".")
    if stack in STACKS:
        index, _, part = rest.partition(".")
        return f"{STACKS[stack]}.{index}.{LAYER_NAMES[part]}.{kind}"
    if stem.startswith("mim_head.decoder.resblocks."):
        index, _, part = stem[len("mim_head.decoder.resblocks.") :].partition(".")
        return f"mem_head.decoder.layers.{index}.{MEM_LAYER_NAMES[part]}.{kind}"
    return f"{NAMES[stem]}.{kind}"


def converted(weights: dict[str, Tensor], encoder: torch.nn.Module) -> dict[str, Tensor]:
    """The release's state dict → ours."""
    rest = dict(weights)
    ecg = {name: rest.pop(name) for name in weights if name.startswith("ecg_encoder.")}
    fitting, fit = match_ecg_weights(encoder, ecg)
    assert not any(fit), fit
    state = {f"ecg_encoder.{name}": tensor for name, tensor in fitting.items()}
    for theirs, ours in (("language", "text"), ("ecg", "ecg")):
        first_weight, first_bias = (weights[f"multi_modal_{theirs}_proj.{kind}"] for kind in ("weight", "bias"))
        weight, bias = (rest.pop(f"unimodal_{theirs}_pooler.dense.{kind}") for kind in ("weight", "bias"))
        state[f"{ours}_projection.dense.weight"] = weight @ first_weight
        state[f"{ours}_projection.dense.bias"] = weight @ first_bias + bias
    for kind in ("weight", "bias"):
        mismatch, match = rest.pop(f"itm_head.fc.{kind}").split(1)
        state[f"etm_head.dense.{kind}"] = match - mismatch
    for name in [name for name in rest if "attn.in_proj_" in name]:
        index, kind = name.split(".")[3], name.rpartition("_")[2]
        for projection, part in zip(("q_proj", "k_proj", "v_proj"), rest.pop(name).chunk(3)):
            state[f"mem_head.decoder.layers.{index}.self_attn.{projection}.{kind}"] = part
    rest.pop("mim_head.decoder_pos_embed.pe")  # a fixed table, ours is computed
    state.update({our_name(name): tensor for name, tensor in rest.items()})
    return state


@pytest.fixture(scope="module")
def released(real_data: Path) -> dict[str, Tensor]:
    """``ours``: a model with the released weights; the case's tensors."""
    from safetensors.torch import load_file

    folder = real_data / "reference" / "released_tiny"
    if not folder.is_dir():
        pytest.skip(f"no released model at {folder}")
    sizes = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    theirs = sizes["model"]
    cfg = CMELTConfig(
        text_encoder_config=json.dumps({"model_type": "t5", **sizes["t5"]}),
        text_encoder_pretrained=False,
        text_pool="first",
        conv_feature_layers=theirs["conv_feature_layers"],
        conv_pos=theirs["conv_pos"],
        conv_pos_groups=theirs["conv_pos_groups"],
        encoder_embed_dim=theirs["encoder_embed_dim"],
        encoder_layers=theirs["encoder_layers"],
        encoder_attention_heads=theirs["encoder_attention_heads"],
        encoder_ffn_embed_dim=theirs["encoder_ffn_embed_dim"],
        fusion_dim=theirs["hidden_dim"],
        fusion_layers=theirs["num_layers"],
        fusion_heads=theirs["num_heads"],
        fusion_ffn_dim=4 * theirs["hidden_dim"],
        mem_layer=theirs["mem_layer"],
        mem_decoder_dim=theirs["mem_decoder_hidden_dim"],
        mem_decoder_layers=theirs["mem_decoder_num_layers"],
        mem_decoder_heads=theirs["mem_decoder_num_heads"],
        normalise_embeddings=False,
        learn_logit_scale=False,
    )
    model = CMELT.build_model(cfg)
    weights = load_file(folder / "weights.safetensors")
    missing, unexpected = model.load_state_dict(converted(weights, model.ecg_encoder), strict=False)
    assert not unexpected
    assert sorted(missing) == ["log_logit_scale", "logit_bias"]
    return {"ours": model.eval(), **load_file(folder / "case.safetensors")}


@pytest.fixture(scope="module")
def outputs(released) -> dict[str, Tensor]:
    model, text = released["ours"], released["text"]
    padding = torch.zeros_like(text, dtype=torch.bool)
    with torch.no_grad():
        encoded = model.ecg_encoder(released["ecg"])
        states = model.text_encoder(text, padding)
        fused = model.fusion(states, encoded.states, padding)
        out = model(released["ecg"], text, padding, mlm_mask=~padding)
        pooled = [model.fused_text_pooler(fused.text, padding), model.fused_ecg_pooler(fused.ecg)]
    return {
        "uni_modal_ecg": out["ecg_embedding"],
        "uni_modal_text": out["text_embedding"],
        "fused_text": fused.text,
        "fused_ecg": fused.ecg,
        "fused_pooled": torch.cat(pooled, dim=-1),
        "mlm_logits": out["mlm_logits"].view(*text.shape, -1),
        "etm_logits": out["etm_logits"],
    }


@pytest.mark.parametrize("name", ["uni_modal_ecg", "uni_modal_text", "fused_text", "fused_ecg", "fused_pooled", "mlm_logits"])
def test_output_equals_the_released_models(released, outputs, name) -> None:
    torch.testing.assert_close(outputs[name], released[name], rtol=1e-4, atol=1e-4)


def test_matching_logit_equals_the_difference_of_the_releases_two_classes(released, outputs) -> None:
    two = released["etm_logits"]
    torch.testing.assert_close(outputs["etm_logits"], two[:, 1] - two[:, 0], rtol=1e-4, atol=1e-4)


def test_mem_head_equals_the_releases_with_its_activation(released, monkeypatch) -> None:
    class ReleasesActivation:
        scaled_dot_product_attention = staticmethod(F.scaled_dot_product_attention)

        @staticmethod
        def gelu(x: Tensor) -> Tensor:
            return x * torch.sigmoid(1.702 * x)

    monkeypatch.setattr(transformer, "F", ReleasesActivation)
    restore_ids = released["mem_ids_restore"]
    n_visible = released["mem_in"].shape[1] - 1
    order = restore_ids.argsort(dim=1)
    with torch.no_grad():
        out = released["ours"].mem_head(
            released["mem_in"], TokenMask(order[:, :n_visible], restore_ids, restore_ids >= n_visible)
        )
    torch.testing.assert_close(out.unflatten(-1, (12, 16)), released["mem_out"], rtol=1e-4, atol=1e-4)
