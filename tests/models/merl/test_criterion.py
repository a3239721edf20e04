"""MERL's two losses: their formulas, what counts as a duplicate, and weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.merl.criterion import MERLCriterion, MERLCriterionConfig
from tests.systems.cases import CASES, hosted_model

ROWS = 5


def criterion(**options: Any) -> MERLCriterion:
    return MERLCriterion(MERLCriterionConfig(**options), None).train()


def sample(reports: list[int]) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {
        "id": torch.arange(ROWS),
        "report_id": torch.tensor(reports),
        "ntokens": 4 * ROWS,
        "net_input": {
            "ecg": torch.randn(ROWS, 12, 800, generator=generator) * 0.3,
            "text": torch.randint(3, 50, (ROWS, 4), generator=generator),
            "text_padding_mask": torch.zeros(ROWS, 4, dtype=torch.bool),
        },
    }


@pytest.fixture(scope="module")
def model() -> Any:
    return hosted_model(CASES["merl-resnet18"]).train()


def test_it_is_the_sum_of_four_cross_entropies(model) -> None:
    """Liu et al. 2024, equations 2 to 5: ECG against report and view against view, both ways, rows of the whole batch."""
    data = sample([0, 1, 2, 3, 4])
    out = model(**data["net_input"])
    own = torch.arange(ROWS)
    expected = 0.0
    for first, second, scale in (("ecg_embedding", "text_embedding", "logit_scale"), ("view1", "view2", "uma_scale")):
        logits = out[scale] * F.normalize(out[first], dim=1) @ F.normalize(out[second], dim=1).T
        expected = expected + F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)
    loss, rows, log = criterion()(model, data)
    assert rows == ROWS and log["sample_size"] == ROWS
    torch.testing.assert_close(loss / rows, expected)
    torch.testing.assert_close(log["loss_cma"] + log["loss_uma"], log["loss"])
    torch.testing.assert_close(criterion(directions="mean")(model, data)[0], loss / 2)
    assert float(log["logit_scale/sum"]) == pytest.approx(1 / 0.07) == pytest.approx(float(log["uma_scale/sum"]))


def test_duplicates_of_a_report_are_negatives_only_where_asked_for(model) -> None:
    """Records 0 and 3 have one report; views of an ECG are compared with those of every other record, whatever its report."""
    data = sample([7, 1, 2, 7, 4])
    out = model(**data["net_input"])
    logits = out["logit_scale"] * out["ecg_embedding"] @ out["text_embedding"].T
    logs = {name: criterion(duplicates=name)(model, data)[2] for name in ("negative", "ignore", "positive")}
    same = torch.zeros(ROWS, ROWS, dtype=torch.bool)
    same[0, 3] = same[3, 0] = True
    own = torch.arange(ROWS)
    negative = F.cross_entropy(logits, own, reduction="sum") + F.cross_entropy(logits.T, own, reduction="sum")
    left_out = logits.masked_fill(same, float("-inf"))
    ignored = F.cross_entropy(left_out, own, reduction="sum") + F.cross_entropy(left_out.T, own, reduction="sum")
    target = (torch.eye(ROWS) + same) / (torch.eye(ROWS) + same).sum(1, keepdim=True)
    positive = F.cross_entropy(logits, target, reduction="sum") + F.cross_entropy(logits.T, target, reduction="sum")
    for name, expected in (("negative", negative), ("ignore", ignored), ("positive", positive)):
        torch.testing.assert_close(logs[name]["loss_cma"], expected.detach(), msg=name)
        torch.testing.assert_close(logs[name]["loss_uma"], logs["negative"]["loss_uma"])


def test_a_loss_of_weight_zero_is_not_computed(model) -> None:
    data = sample([0, 1, 2, 3, 4])
    whole = criterion()(model, data)[2]
    alone = criterion(cma_weight=0.0)(model, {**data, "net_input": {"ecg": data["net_input"]["ecg"]}})  # no text is read
    assert "loss_cma" not in alone[2]
    torch.testing.assert_close(alone[2]["loss"], whole["loss_uma"])
    weighted = criterion(cma_weight=0.5, uma_weight=2.0)(model, data)[0]
    torch.testing.assert_close(weighted.detach(), 0.5 * whole["loss_cma"] + 2 * whole["loss_uma"])


def test_unknown_settings_are_refused() -> None:
    for options in ({"duplicates": "drop"}, {"directions": "both"}):
        with pytest.raises(DataError, match=f"criterion.{next(iter(options))} must be one of"):
            criterion(**options)
