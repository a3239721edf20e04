"""MERL's losses: their formulas, what counts as a duplicate, and weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.merl.criterion import MERLCriterion, MERLCriterionConfig
from tests.losses.ranks import two_ranks
from tests.models.merl.label_step import ROWS, ClassTexts, label_step, labelled_sample, sample
from tests.systems.cases import CASES, hosted_model


def criterion(**options: Any) -> MERLCriterion:
    return MERLCriterion(MERLCriterionConfig(**options), None).train()


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


def test_the_loss_of_labels_is_a_softmax_over_ecgs_for_each_class_and_over_classes_for_each_ecg(model) -> None:
    """Class 2 is unknown of all but its positives, so it has nothing to be told from and ranks no ECG."""
    data, task = labelled_sample(), ClassTexts()
    labels = data["labels"]
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


@pytest.mark.parametrize("batch_size", [None, 3])
def test_labels_on_two_ranks_teach_what_they_teach_on_one(batch_size) -> None:
    """Three rows and two: one rank has no positive of the first two classes; of the third no negative is known."""
    whole = labelled_sample()
    parts = [_rows(whole, rows) for rows in (slice(0, 3), slice(3, None))]
    _assert_same_step(two_ranks()(label_step, [(part, batch_size) for part in parts]), label_step(whole))


def test_labels_of_a_rank_that_ran_out_of_batches_count_nowhere() -> None:
    whole = labelled_sample()
    parts = [_rows(whole, slice(0, 3)), {**_rows(whole, slice(3, None)), "ignore_grad": True}]
    _assert_same_step(two_ranks()(label_step, [(part,) for part in parts]), label_step(parts[0]))


def _assert_same_step(steps: list[dict[str, Any]], alone: dict[str, Any]) -> None:
    """Equal loss and gradients before the trainer divides by the rows."""
    torch.testing.assert_close(sum(step["loss"] for step in steps), alone["loss"])
    expected = {name: gradient for name, gradient in alone["gradients"].items() if gradient is not None}
    assert {name.split(".")[0] for name in expected} >= {"ecg_tower", "text_encoder", "text_projection"}
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        found = sum(step["gradients"][name] for step in steps)
        torch.testing.assert_close(found, gradient, rtol=2e-3, atol=1e-5 * largest, msg=lambda m, n=name: f"{n}: {m}")


def _rows(batch: dict[str, Any], rows: slice) -> dict[str, Any]:
    columns = {name: batch[name][rows] for name in ("id", "report_id", "labels")}
    return {**batch, **columns, "net_input": {name: value[rows] for name, value in batch["net_input"].items()}}


def test_unknown_settings_are_refused() -> None:
    for options in ({"duplicates": "drop"}, {"directions": "both"}):
        with pytest.raises(DataError, match=f"criterion.{next(iter(options))} must be one of"):
            criterion(**options)
