"""MERL's losses: their formulas, what counts as a duplicate, and weights."""

from __future__ import annotations

import math
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


class ClassTexts:
    """A task that knows texts of three classes."""

    def __init__(self) -> None:
        self.ids = torch.randint(3, 50, (3, 4), generator=torch.Generator().manual_seed(1))

    def class_texts(self, training: bool, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return self.ids, torch.zeros(3, 4, dtype=torch.bool)


def test_the_loss_of_labels_is_a_softmax_over_ecgs_for_each_class_and_over_classes_for_each_ecg(model) -> None:
    """Class 2 is unknown of all but its positives, so it has nothing to be told from and ranks no ECG."""
    unknown = float("nan")
    labels = torch.tensor([[1, 0, 1], [1, 1, unknown], [0, 1, unknown], [0, 0, unknown], [0, unknown, 1]], dtype=torch.float32)
    data, task = {**sample([0, 1, 2, 3, 4]), "labels": labels}, ClassTexts()
    out = model(**data["net_input"], objectives=("cma", "label"), class_text=task.ids)
    logits = (out["logit_scale"] * out["class_embedding"] @ out["ecg_embedding"].T).tolist()

    def share(positives: list[float], others: list[float]) -> float:
        total = sum(math.exp(value) for value in positives + others)
        return -sum(math.log(math.exp(value) / total) for value in positives) / len(positives)

    of_classes, of_ecgs = [], []
    for c in range(2):
        positives, others = ([logits[c][e] for e in range(ROWS) if labels[e, c] == value] for value in (1, 0))
        of_classes.append(share(positives, others))
    for e in range(ROWS):
        positives, others = ([logits[c][e] for c in range(3) if labels[e, c] == value] for value in (1, 0))
        of_ecgs.append(share(positives, others) if positives else 0.0)
    loss = MERLCriterion(MERLCriterionConfig(cma_weight=0.0, uma_weight=0.0, label_weight=2.0), task).train()
    value, rows, _ = loss(model, data)
    assert float(value / rows) == pytest.approx(2 * (sum(of_classes) / 2 + sum(of_ecgs) / ROWS), rel=1e-5)
    value.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    model.zero_grad()


def test_unknown_settings_are_refused() -> None:
    for options in ({"duplicates": "drop"}, {"directions": "both"}):
        with pytest.raises(DataError, match=f"criterion.{next(iter(options))} must be one of"):
            criterion(**options)
