"""Parts of the training set: the two published rules, and ours."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.low_data import PUBLISHED_ROWS, shot_rows, subset_rows, without_positives

# Rows at 1 % and 10 % as published, per training set: MERL, MELP.
PUBLISHED_SIZES = {
    "ptb-xl-super": ((170, 1708), (171, 1708)),
    "ptb-xl-sub": ((170, 1708), (171, 1708)),
    "ptb-xl-form": ((71, 719), (72, 720)),
    "ptb-xl-rhythm": ((168, 1683), (168, 1683)),
    "cpsc2018": ((49, 495), (50, 495)),
    "csn": ((165, 1654), (165, 1655)),
}


@pytest.mark.parametrize("label_set", PUBLISHED_SIZES)
def test_published_rules(label_set):
    n = PUBLISHED_ROWS[label_set]
    labels = np.zeros((n, 1))
    merl, melp = ([subset_rows(labels, fraction, rule) for fraction in (0.01, 0.1, 1.0)] for rule in ("merl", "melp"))
    assert ([len(rows) for rows in merl[:2]], [len(rows) for rows in melp[:2]]) == tuple(map(list, PUBLISHED_SIZES[label_set]))
    for fraction, a, b in zip((0.01, 0.1), merl, melp):
        theirs, _ = train_test_split(np.arange(n), train_size=fraction, random_state=42)
        assert a.tolist() == sorted(theirs)
        assert b.tolist() == sorted(pd.DataFrame({"row": np.arange(n)}).sample(frac=fraction, random_state=42)["row"])
        assert not set(a) & set(b)
    for parts in (merl, melp):
        assert set(parts[0]) < set(parts[1]) and parts[2].tolist() == list(range(n))


@pytest.mark.parametrize(
    "file, rule, missing",
    [
        ("ptbxl/form/ptbxl_form_train.csv", "merl", "HVOLT TAB PRC(S) STE"),
        ("ptbxl/form/ptbxl_form_train.csv", "melp", "HVOLT TAB PRC(S) STE"),
        ("ptbxl/super_class/ptbxl_super_class_train.csv", "merl", ""),
        ("icbeb/icbeb_train.csv", "merl", "STE"),
        ("icbeb/icbeb_train.csv", "melp", ""),
        ("chapman/chapman_train.csv", "merl", "UW WPW PRIE VEB MI PWC RVH"),
        ("chapman/chapman_train.csv", "melp", "UW WPW VPB 2AVB1 PRIE LBBB VEB PWC RVH"),
    ],
)
def test_classes_that_the_published_one_percent_lacks(real_data, file, rule, missing):
    path = real_data / "splits" / file
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    table = pd.read_csv(path)
    first = {"ptbxl": 6, "icbeb": 7, "chapman": 3}[file.split("/")[0]]
    labels, names = table.iloc[:, first:].to_numpy(dtype=float), list(table.columns[first:])
    assert without_positives(labels, subset_rows(labels, 0.01, rule), names) == missing.split()
    ours = subset_rows(labels, 0.01, "stratified")
    assert len(ours) == round(0.01 * len(labels))
    assert without_positives(labels, ours, names) == []


@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.1, 0.3, 0.7]))
@settings(max_examples=40, deadline=None)
def test_stratified_keeps_a_positive_of_every_class_and_their_shares(seed, fraction):
    rng = np.random.default_rng(seed)
    labels = (rng.random((400, 6)) < [0.5, 0.3, 0.1, 0.05, 0.02, 0.004]).astype(float)
    labels[rng.random((400, 6)) < 0.05] = np.nan
    rows = subset_rows(labels, fraction, "stratified", seed)
    assert len(rows) == round(fraction * 400) == len(set(rows)) and (np.diff(rows) > 0).all()
    whole, part = np.nansum(labels, axis=0), np.nansum(labels[rows], axis=0)
    assert (part[whole > 0] >= 1).all()
    assert np.abs(part - fraction * whole).max() <= 6
    assert set(subset_rows(labels, fraction / 2, "stratified", seed)) < set(rows)
    assert rows.tolist() == subset_rows(labels, fraction, "stratified", seed).tolist()


def test_stratified_depends_on_the_seed():
    labels = (np.random.default_rng(0).random((100, 3)) < 0.3).astype(float)
    assert subset_rows(labels, 0.2, "stratified", 1).tolist() != subset_rows(labels, 0.2, "stratified", 2).tolist()


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_stratified_takes_whole_subjects(seed):
    rng = np.random.default_rng(seed)
    labels = (rng.random((200, 3)) < [0.5, 0.2, 0.03]).astype(float)
    subjects = rng.integers(0, 80, 200).astype(str)
    rows = subset_rows(labels, 0.25, "stratified", seed, subjects)
    rest = np.setdiff1d(np.arange(200), rows)
    assert not set(subjects[rows]) & set(subjects[rest])
    largest = np.unique(subjects, return_counts=True)[1].max()
    assert abs(len(rows) - 50) <= largest
    assert (labels[rows].sum(axis=0)[labels.sum(axis=0) > 0] >= 1).all()
    smaller = subset_rows(labels, 0.1, "stratified", seed, subjects)
    assert set(smaller) <= set(rows)


def test_more_classes_than_records_fill_up_from_the_rarest():
    labels = np.zeros((30, 3))
    labels[:20, 0], labels[20:25, 1], labels[29, 2] = 1, 1, 1
    rows = subset_rows(labels, 2 / 30, "stratified")
    assert 29 in rows and labels[rows, 1].sum() == 1


def test_classes_without_a_positive_are_named():
    labels = np.array([[1, np.nan, 0], [0, 1, 0]])
    assert without_positives(labels, np.array([0]), ["a", "b", "c"]) == ["b", "c"]


@pytest.mark.parametrize(
    "fraction, rule, message",
    [
        (0.0, "merl", "above 0"),
        (1.1, "melp", "above 0"),
        (float("nan"), "merl", "above 0"),
        (0.01, "merl", "is none"),
        (0.5, "random", "merl, melp, stratified"),
    ],
)
def test_what_cannot_be_taken_is_refused(fraction, rule, message):
    with pytest.raises(DataError, match=message):
        subset_rows(np.zeros((20, 1)), fraction, rule)


def test_shots_are_records_with_and_without_each_class():
    labels = np.full((40, 3), np.nan)
    labels[:, 0] = np.arange(40) % 2  # 20 and 20
    labels[:30, 1] = np.arange(30) < 3  # 3 and 27
    rows = shot_rows(labels, 5, seed=1)
    assert sorted(rows) == rows.tolist() and len(set(rows)) == len(rows)
    taken = labels[rows]
    assert (taken[:, 1] == 1).sum() == 3  # all there are
    assert (taken[:, 1] == 0).sum() >= 5 and (taken[:, 0] == 1).sum() >= 5 and (taken[:, 0] == 0).sum() >= 5
    assert len(shot_rows(labels[:, :1], 5, seed=1)) == 10 and len(shot_rows(labels[:, :1], 100)) == 40
    assert shot_rows(labels, 5, seed=2).tolist() != rows.tolist() == shot_rows(labels, 5, seed=1).tolist()
    with pytest.raises(DataError, match="none of 40 training records"):
        shot_rows(labels[:, 2:], 1)


def test_shots_are_of_different_subjects_as_far_as_there_are_any():
    labels = np.array([[1.0], [0.0]] * 30)
    groups = [f"s{row // 6}" for row in range(60)]  # ten subjects, three records of each kind
    for seed in range(5):
        rows = shot_rows(labels, 8, seed, groups)
        for kind in (0, 1):
            assert len({groups[row] for row in rows if row % 2 == kind}) == 8
    assert len(shot_rows(labels, 20, 0, groups)) == 40
