"""Which signal the masked ECG tokens are compared with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cmelt_plugin.criterions.pretraining import Batch
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.cmelt.criterion import CMELTCriterionConfig, MEMCriterion
from cmelt_plugin.modules.ecg.patches import patchify, standardise_leads, unpatchify

N_TOKENS, SAMPLES = 6, 4
LEAD_MASK = torch.zeros(2, 12, dtype=torch.bool)
LEAD_MASK[0, :5] = LEAD_MASK[1, 11] = True


def batch(prediction: Tensor, **changes: Any) -> Batch:
    torch.manual_seed(0)
    inputs = {"ecg": torch.randn(2, 12, N_TOKENS * SAMPLES + 3) + 1.0, "lead_mask": LEAD_MASK, "n_samples": None}
    mask = torch.tensor([[True, False] * 3, [True] * 6])
    out = {"mem_prediction": prediction, "mem_mask": mask}
    return Batch(out, {"net_input": {**inputs, **changes}}, 2, torch.tensor(2.0), None)


def loss(prediction: Tensor, mem_target: str, **changes: Any) -> float:
    return MEMCriterion(CMELTCriterionConfig(mem_target=mem_target), None).mem(batch(prediction, **changes)).loss.item()


def signal() -> Tensor:
    ecg = batch(torch.zeros(0)).sample["net_input"]["ecg"]
    return standardise_leads(ecg[..., : N_TOKENS * SAMPLES])


def test_masked_leads_are_to_be_recovered_from_the_original() -> None:
    whole = patchify(signal(), N_TOKENS, SAMPLES)
    without_masked_leads = patchify(signal().masked_fill(LEAD_MASK.unsqueeze(-1), 0.0), N_TOKENS, SAMPLES)
    assert loss(whole, "original") == pytest.approx(0.0, abs=1e-10)
    # A model that gives zeros for masked leads pays their variance: 5 of 12 leads on 3 tokens, 1 of 12 on 6.
    assert loss(without_masked_leads, "original") == pytest.approx(2 * (3 * 5 / 12 + 6 / 12) / 9, rel=0.15)


def test_masked_leads_are_zero_in_the_masked_input() -> None:
    without_masked_leads = patchify(signal().masked_fill(LEAD_MASK.unsqueeze(-1), 0.0), N_TOKENS, SAMPLES)
    assert loss(without_masked_leads, "masked_input") == pytest.approx(0.0, abs=1e-10)
    assert loss(patchify(signal(), N_TOKENS, SAMPLES), "masked_input") > 0.1


def test_the_targets_agree_where_no_lead_is_masked() -> None:
    prediction = torch.randn(2, N_TOKENS, 12 * SAMPLES)
    values = {loss(prediction, target, lead_mask=None) for target in ("original", "masked_input")}
    assert len(values) == 1


def test_visible_tokens_do_not_count() -> None:
    prediction = patchify(signal(), N_TOKENS, SAMPLES)
    prediction[0, 1::2] = 100.0
    assert loss(prediction, "original") == pytest.approx(0.0, abs=1e-10)


def test_short_records_are_standardised_over_real_samples() -> None:
    """Beyond them the target is zero, and the 3 samples that belong to no token do not count."""
    n_samples = torch.tensor([12, N_TOKENS * SAMPLES + 3])
    ecg = batch(torch.zeros(0)).sample["net_input"]["ecg"][0, :, :12]
    expected = (ecg - ecg.mean(-1, keepdim=True)) / (ecg.var(-1, keepdim=True) + 1e-6).sqrt()
    prediction = unpatchify(patchify(signal(), N_TOKENS, SAMPLES), 12)
    prediction[0] = 0.0
    prediction[0, :, :12] = expected
    assert loss(patchify(prediction, N_TOKENS, SAMPLES), "original", n_samples=n_samples) == pytest.approx(0, abs=1e-9)


def test_unknown_target_is_an_error_with_the_choices() -> None:
    with pytest.raises(DataError, match="original, masked_input"):
        loss(torch.zeros(2, N_TOKENS, 12 * SAMPLES), "raw")


def test_the_configuration_reaches_the_loss() -> None:
    for target in ("original", "masked_input"):
        [(weight, function)] = MEMCriterion(CMELTCriterionConfig(mem_target=target), None).terms().values()
        prediction = patchify(signal(), N_TOKENS, SAMPLES)
        assert weight == 1.0
        assert function(batch(prediction)).loss.item() == pytest.approx(loss(prediction, target))
