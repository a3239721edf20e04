"""With the authors' released weights the model computes what their model computes (float32)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from cmelt_plugin.data.leads import MIMIC_IV_ECG_LEADS, lead_indices
from cmelt_plugin.models.files.released import load_released
from cmelt_plugin.modules.masking import TokenMask

NAMES = ["uni_modal_ecg", "uni_modal_text", "fused_text", "fused_ecg", "fused_pooled", "mlm_logits"]


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    path = real_data / "reference" / "released_tiny"
    if not path.is_dir():
        pytest.skip(f"no released model at {path}")
    return path


@pytest.fixture(scope="module")
def case(folder) -> dict[str, Tensor]:
    """Inputs, and what the released model makes of them."""
    from safetensors.torch import load_file

    return load_file(folder / "case.safetensors")


@pytest.fixture(scope="module")
def model(folder):
    return load_released(folder / "weights.safetensors").model


@torch.no_grad()
def outputs(model, ecg: Tensor, text: Tensor) -> dict[str, Tensor]:
    padding = torch.zeros_like(text, dtype=torch.bool)
    encoded = model.ecg_encoder(ecg)
    fused = model.fusion(model.text_encoder(text, padding), encoded.states, padding)
    out = model(ecg, text, padding, mlm_mask=~padding)
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


@torch.no_grad()
def reconstruction(model, case: dict[str, Tensor]) -> Tensor:
    """The MEM head alone: ``[B, N, 12, 16]``."""
    restore_ids = case["mem_ids_restore"]
    n_visible = case["mem_in"].shape[1] - 1
    mask = TokenMask(restore_ids.argsort(dim=1)[:, :n_visible], restore_ids, restore_ids >= n_visible)
    return model.mem_head(case["mem_in"], mask).unflatten(-1, (12, 16))


@pytest.fixture(scope="module")
def computed(model, case) -> dict[str, Tensor]:
    return outputs(model, case["ecg"], case["text"])


@pytest.mark.parametrize("name", NAMES)
def test_output_equals_the_released_models(case, computed, name) -> None:
    torch.testing.assert_close(computed[name], case[name], rtol=1e-4, atol=1e-5)


def test_matching_logit_equals_the_difference_of_the_releases_two_classes(case, computed) -> None:
    two = case["etm_logits"]
    torch.testing.assert_close(computed["etm_logits"], two[:, 1] - two[:, 0], rtol=1e-4, atol=1e-5)


def test_mem_head_equals_the_releases(model, case) -> None:
    torch.testing.assert_close(reconstruction(model, case), case["mem_out"], rtol=1e-4, atol=1e-5)


def test_with_the_lead_order_of_training_the_same_leads_give_the_same_outputs(folder, case) -> None:
    """The release's channels taken as MIMIC-IV-ECG's leads: our model reads and writes them in our order."""
    model = load_released(folder, "mimic-iv-ecg").model
    order = lead_indices(MIMIC_IV_ECG_LEADS)
    assert order[4:6] == [5, 4]
    computed = outputs(model, case["ecg"][:, order], case["text"])
    for name in NAMES:
        torch.testing.assert_close(computed[name], case[name], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(reconstruction(model, case), case["mem_out"][:, :, order], rtol=1e-4, atol=1e-5)
    # Without it they would differ: the order is no detail.
    assert (outputs(model, case["ecg"], case["text"])["uni_modal_ecg"] - case["uni_modal_ecg"]).abs().max() > 5e-5
