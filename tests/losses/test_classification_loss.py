"""Classification losses against the formulas written out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.losses.classification import (
    balanced_class_weights,
    balanced_positive_weights,
    class_numbers,
    multi_class_loss,
    multi_label_loss,
)

NAN = float("nan")


def naive_multi_label(logits, labels, pos_weight):
    total, records = 0.0, 0
    for row, targets in zip(logits.tolist(), labels.tolist()):
        cells = []
        for x, y, w in zip(row, targets, pos_weight):
            if not math.isnan(y):
                p = 1 / (1 + math.exp(-x))
                cells.append(-w * math.log(p) if y == 1 else -math.log(1 - p))
        if cells:
            total, records = total + sum(cells) / len(cells), records + 1
    return total, records


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_multi_label_is_the_mean_over_known_labels_of_each_record(seed, n_rows, n_classes, weighted):
    torch.manual_seed(seed)
    logits = 3 * torch.randn(n_rows, n_classes)
    labels = torch.randint(0, 2, (n_rows, n_classes)).float()
    labels[torch.rand(n_rows, n_classes) < 0.3] = NAN
    weight = torch.rand(n_classes) * 4 if weighted else None
    loss = multi_label_loss(logits, labels, weight)
    total, records = naive_multi_label(logits, labels, weight.tolist() if weighted else [1.0] * n_classes)
    assert int(loss.records) == records
    assert float(loss.total) == pytest.approx(total, rel=1e-4, abs=1e-5)


def test_multi_label_with_all_labels_known_is_the_mean_over_all_cells():
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 4), torch.randint(0, 2, (6, 4)).float()
    loss = multi_label_loss(logits, labels)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(loss.total / loss.records, expected)


def test_unknown_labels_get_no_gradient():
    logits = torch.zeros(2, 2, requires_grad=True)
    multi_label_loss(logits, torch.tensor([[1.0, NAN], [NAN, NAN]])).total.backward()
    assert logits.grad.tolist() == [[-0.5, 0.0], [0.0, 0.0]]


def test_multi_class_leaves_unknown_records_out():
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [5.0, 5.0, 5.0]])
    loss = multi_class_loss(logits, torch.tensor([0, 2, -1]))
    expected = -math.log(math.exp(2) / (math.exp(2) + 2)) - math.log(1 / (math.e + 2))
    assert int(loss.records) == 2
    assert float(loss.total) == pytest.approx(expected, rel=1e-5)
    weighted = multi_class_loss(logits, torch.tensor([0, 2, -1]), torch.tensor([3.0, 1.0, 0.0]))
    assert float(weighted.total) == pytest.approx(-3 * math.log(math.exp(2) / (math.exp(2) + 2)), rel=1e-5)
    nobody = multi_class_loss(logits, torch.tensor([-1, -1, -1]))
    assert (float(nobody.total), int(nobody.records)) == (0.0, 0)


def test_class_numbers_of_one_hot_rows():
    labels = torch.tensor([[0.0, 1.0, 0.0], [NAN, NAN, NAN], [1.0, 0.0, NAN], [0.0, 0.0, NAN]])
    assert class_numbers(labels).tolist() == [1, -1, 0, -1]


def test_balanced_weights_by_hand():
    labels = torch.tensor([[1.0, 0.0, NAN], [0.0, 0.0, NAN], [0.0, 0.0, 1.0], [0.0, NAN, 0.0]])
    # 3 negatives per positive; no positives; one of each
    assert balanced_positive_weights(labels).tolist() == [3.0, 1.0, 1.0]
    target = torch.tensor([0, 0, 0, 2, -1])
    weights = balanced_class_weights(target, 3)
    assert weights.tolist() == pytest.approx([4 / 6, 1.0, 4 / 2])  # 4 records, 2 classes that occur
    assert float(weights[target[target >= 0]].mean()) == pytest.approx(1.0)
