"""y of equation 4 for swapped texts, duplicates and columns of other ranks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.losses import pair_labels

FOREIGN_DUPLICATE = {"negative": -1.0, "ignore": 0.0, "positive": 1.0}


def labels_of(ecg_report: list[int], text_report: list[int], own: list[int], aligned: list[bool], duplicates: str):
    labels = pair_labels(
        torch.tensor(ecg_report), torch.tensor(text_report), torch.tensor(own), torch.tensor(aligned), duplicates
    )
    assert labels.dtype == torch.float32
    return labels.tolist()


@pytest.mark.parametrize(("duplicates", "same"), sorted(FOREIGN_DUPLICATE.items()))
def test_duplicates_of_a_batch_by_hand(duplicates: str, same: float) -> None:
    # Records 0 and 2 share report 5; the text of record 1 (report 6) was swapped for report 5.
    assert labels_of([5, 6, 5], [5, 5, 5], [0, 1, 2], [True, False, True], duplicates) == [
        [1, same, same],
        [-1, -1, -1],
        [same, same, 1],
    ]


def test_a_swapped_diagonal_is_negative_even_where_duplicates_are_positive() -> None:
    # A careless negative that reads like the original: the pair was declared a mismatch, and stays one.
    assert labels_of([5, 6], [5, 6], [0, 1], [False, True], "positive") == [[-1, -1], [-1, 1]]


def test_default_is_the_papers() -> None:
    reports = torch.tensor([1, 1])
    assert pair_labels(reports, reports, torch.arange(2), torch.tensor([True, True])).tolist() == [[1, -1], [-1, 1]]


@pytest.mark.parametrize("name", ["", "Ignore", "none"])
def test_unknown_name_raises(name: str) -> None:
    with pytest.raises(ValueError, match="negative, ignore, positive"):
        labels_of([0], [0], [0], [True], name)


@st.composite
def batches(draw):
    n_texts = draw(st.integers(1, 6))
    offset = draw(st.integers(0, n_texts - 1))
    n_ecgs = draw(st.integers(1, n_texts - offset))
    report = st.integers(0, 3)  # few reports: many duplicates
    own = [offset + row for row in range(n_ecgs)]
    aligned = draw(st.lists(st.booleans(), min_size=n_ecgs, max_size=n_ecgs))
    texts = draw(st.lists(report, min_size=n_texts, max_size=n_texts))
    ecgs = [texts[column] if same else draw(report) for column, same in zip(own, aligned)]
    return ecgs, texts, own, aligned


@settings(max_examples=100, deadline=None)
@given(batches(), st.sampled_from(sorted(FOREIGN_DUPLICATE)))
def test_labels_equal_the_definition(batch, duplicates: str) -> None:
    ecg_report, text_report, own, aligned = batch
    expected = [
        [
            (1.0 if aligned[i] else -1.0)
            if j == own[i]
            else (FOREIGN_DUPLICATE[duplicates] if ecg_report[i] == text_report[j] else -1.0)
            for j in range(len(text_report))
        ]
        for i in range(len(ecg_report))
    ]
    assert labels_of(ecg_report, text_report, own, aligned, duplicates) == expected
