"""Criteria of classifiers: what they hand to the hosts."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from cmelt_plugin import host
from cmelt_plugin.criterions.classification import ClassificationCriterion, ClassificationCriterionConfig
from cmelt_plugin.criterions.identification import IdentificationCriterion, IdentificationCriterionConfig
from cmelt_plugin.errors import DataError

NAN = float("nan")


class Fixed(nn.Module):
    """Returns given logits."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, ecg):
        return {"logits": self.logits, "features": self.logits}


def sample(n, **extra):
    return {"id": torch.arange(n), "net_input": {"ecg": torch.zeros(n, 12, 10)}, **extra}


def criterion(multi_class=False, class_weights="none", training_labels=None):
    task = SimpleNamespace(multi_class=multi_class, training_labels=training_labels)
    return ClassificationCriterion(ClassificationCriterionConfig(class_weights=class_weights), task)


def logged(outputs):
    with host.metrics.aggregate(new_root=True) as aggregate:
        ClassificationCriterion.reduce_metrics(outputs)
    return dict(aggregate.get_smoothed_values())


def test_loss_per_record_does_not_depend_on_the_number_of_classes():
    labels = torch.tensor([[1.0, 0.0], [0.0, NAN], [NAN, NAN]])
    logits = [[0.5, -1.0], [2.0, 9.0], [3.0, 3.0]]
    loss, size, log = criterion().train()(Fixed(logits), sample(3, labels=labels))
    assert int(size) == 2  # nothing is known of the third
    doubled = torch.cat([labels, labels], dim=1)
    twice, _, _ = criterion().train()(Fixed([row * 2 for row in logits]), sample(3, labels=doubled))
    torch.testing.assert_close(loss, twice)
    softplus = nn.functional.softplus
    expected = (softplus(torch.tensor(-0.5)) + softplus(torch.tensor(-1.0))) / 2 + softplus(torch.tensor(2.0))
    torch.testing.assert_close(loss.detach(), expected)
    assert int(log["sample_size"]) == 2 and log["nsentences"] == 3


def test_gradients_of_two_ranks_add_up_to_those_of_one_process():
    """The hosts divide the sum of gradients by the sum of sample sizes."""
    labels = torch.tensor([[1.0, 0.0], [0.0, NAN], [1.0, 1.0], [NAN, NAN]])
    logits = torch.randn(4, 2)
    whole = Fixed(logits.tolist())
    loss, size, _ = criterion().train()(whole, sample(4, labels=labels))
    loss.backward()
    parts, sizes = [], 0
    for rows in (slice(0, 1), slice(1, 4)):
        model = Fixed(logits[rows].tolist())
        part, n, _ = criterion().train()(model, sample(len(labels[rows]), labels=labels[rows]))
        part.backward()
        parts.append(model.logits.grad)
        sizes += int(n)
    assert sizes == int(size)
    torch.testing.assert_close(torch.cat(parts), whole.logits.grad)


def test_class_weights_act_in_training_alone():
    training_labels = np.array([[1, 0], [0, 1], [0, 0], [0, 0]], dtype=np.float32)  # 3 negatives per positive
    labels = torch.tensor([[1.0, 0.0]])
    weighted, plain = criterion(class_weights="balanced", training_labels=training_labels), criterion()
    expected = nn.functional.binary_cross_entropy_with_logits(
        torch.tensor([[0.2, 0.1]]), labels, pos_weight=torch.tensor([3.0, 3.0])
    )
    loss, _, _ = weighted.train()(Fixed([[0.2, 0.1]]), sample(1, labels=labels))
    torch.testing.assert_close(loss.detach(), expected)
    evaluated, _, log = weighted.eval()(Fixed([[0.2, 0.1]]), sample(1, labels=labels))
    torch.testing.assert_close(evaluated, plain.eval()(Fixed([[0.2, 0.1]]), sample(1, labels=labels))[0])
    assert isinstance(log["loss"], float) and isinstance(log["sample_size"], int)  # they travel through pickles
    with pytest.raises(DataError, match="class_weights must be one of none, balanced"):
        criterion(class_weights="some")


def test_multi_class():
    labels = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [NAN, NAN, NAN]])
    logits = [[0.0, 2.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    loss, size, log = criterion(multi_class=True).train()(Fixed(logits), sample(3, labels=labels))
    expected = nn.functional.cross_entropy(torch.tensor(logits)[:2], torch.tensor([1, 0]), reduction="sum")
    torch.testing.assert_close(loss.detach(), expected)
    assert int(size) == 2
    values = logged([log])
    assert values["accuracy"] == 0.5 and values["loss"] == pytest.approx(float(expected) / 2, abs=1e-4)
    balanced = criterion(multi_class=True, class_weights="balanced", training_labels=np.eye(3, dtype=np.float32)[[0, 0, 0, 1]])
    loss, _, _ = balanced.train()(Fixed(logits), sample(3, labels=labels))
    weights = torch.tensor([4 / 6, 2.0, 1.0])
    expected = nn.functional.cross_entropy(torch.tensor(logits)[:2], torch.tensor([1, 0]), weights, reduction="sum")
    torch.testing.assert_close(loss.detach(), expected)


def test_identification_knows_only_the_people_of_the_training_set():
    made = IdentificationCriterion(IdentificationCriterionConfig(), None)
    logits = [[0.0, 2.0], [0.5, 0.0], [7.0, 0.0]]
    loss, size, log = made.train()(Fixed(logits), sample(3, subject=torch.tensor([1, 1, -1])))
    expected = nn.functional.cross_entropy(torch.tensor(logits)[:2], torch.tensor([1, 1]), reduction="sum")
    torch.testing.assert_close(loss.detach(), expected)
    assert int(size) == 2 and logged([log])["accuracy"] == 0.5
    _, size, log = made.eval()(Fixed(logits), sample(3, subject=torch.tensor([-1, -1, -1])))
    assert size == 0 and "loss" not in logged([log])


def test_losses_of_batches_are_averaged_over_records():
    values = logged([{"loss": 3.0, "sample_size": 3}, {"loss": 1.0, "sample_size": 1}, {"loss": 0.0, "sample_size": 0}])
    assert values["loss"] == 1.0
    assert ClassificationCriterion.logging_outputs_can_be_summed()
