"""The challenge's score: by hand, by its definition, and against values of the official code."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.metrics.cinc2021 import (
    ABBREVIATIONS,
    cinc_score,
    load_cinc_weights,
    match_classes,
    sinus_rhythm_index,
)
from cmelt_plugin.evaluation.metrics.multi_label import classification_metrics

CLASSES = ["164889003", "733534002|164909002", "426783006"]  # AF, CLBBB = LBBB, NSR
WEIGHTS = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.1], [0.2, 0.1, 1.0]])


def write_weights(path, classes=CLASSES, weights=WEIGHTS):
    lines = [",".join(["", *classes])]
    lines += [",".join([name, *map(str, row)]) for name, row in zip(classes, np.asarray(weights).tolist())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def by_definition(labels, decisions, weights, sinus):
    def reward(called):
        total = 0.0
        for t, p in zip(labels, called):
            norm = max(sum(a or b for a, b in zip(t, p)), 1)
            total += sum(weights[i][j] / norm for i in range(len(t)) for j in range(len(t)) if t[i] and p[j])
        return total

    nothing = [[j == sinus for j in range(len(weights))]] * len(labels)
    observed, correct, inactive = reward(decisions), reward(labels), reward(nothing)
    return (observed - inactive) / (correct - inactive) if correct != inactive else 0.0


def test_equals_the_official_scoring_code(real_data):
    path = real_data / "scoring" / "cinc2021_expected.json"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    classes, weights = load_cinc_weights(path.with_name("cinc2021_weights.csv"))
    for case in json.loads(path.read_text())["cases"]:
        labels, decisions = np.array(case["labels"], dtype=bool), np.array(case["binary"], dtype=bool)
        score = cinc_score(labels, decisions, weights, sinus_rhythm_index(classes))
        assert score == pytest.approx(case["challenge_metric"], abs=1e-9)
        # The official area, precision, F-measure and (exact-match) accuracy are ours too, where every class occurs.
        figures = classification_metrics(labels, np.array(case["scores"]), classes, np.full(len(classes), 0.5))
        assert figures.excluded == []
        assert figures.macro_auc == pytest.approx(case["auroc"], abs=1e-9)
        assert figures.macro_auprc == pytest.approx(case["auprc"], abs=1e-9)
        assert figures.macro_f1 == pytest.approx(case["f_measure"], abs=1e-9)
        assert figures.exact_match == pytest.approx(case["accuracy"], abs=1e-9)


def test_the_scored_diagnoses_are_those_of_the_challenge(real_data):
    path = real_data / "scoring" / "cinc2021_dx_mapping_scored.csv"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    rows = [line.split(",")[:3] for line in path.read_text(encoding="utf-8-sig").splitlines()[1:]]
    assert {code: abbreviation for _, code, abbreviation in rows} == ABBREVIATIONS
    classes, _ = load_cinc_weights(path.with_name("cinc2021_weights.csv"))
    assert len(classes) == 26 and {code for name in classes for code in name.split("|")} == set(ABBREVIATIONS)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_equals_its_definition(seed):
    rng = np.random.default_rng(seed)
    labels, decisions = rng.random((2, 12, 3)) < 0.4
    score = cinc_score(labels, decisions, WEIGHTS, 2)
    assert score == pytest.approx(by_definition(labels.tolist(), decisions.tolist(), WEIGHTS, 2))


def test_by_hand():
    labels = np.array([[1, 0, 0], [0, 0, 1]], dtype=bool)
    assert cinc_score(labels, labels, WEIGHTS, 2) == 1
    assert cinc_score(labels, np.array([[0, 0, 1]] * 2, dtype=bool), WEIGHTS, 2) == 0
    # AF called AF and LBBB: (1 + 0.5) / 2; NSR right: 1. All right: 2. Sinus rhythm throughout: 0.2 / 2 + 1.
    decisions = np.array([[1, 1, 0], [0, 0, 1]], dtype=bool)
    assert cinc_score(labels, decisions, WEIGHTS, 2) == pytest.approx((1.75 - 1.1) / (2 - 1.1))
    assert cinc_score(labels, np.zeros((2, 3), dtype=bool), WEIGHTS, 2) < 0
    assert cinc_score(labels[1:], labels[1:], WEIGHTS, 2) == 0  # sinus rhythm alone: nothing can be gained


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        cinc_score(np.zeros((2, 3), bool), np.zeros((2, 2), bool), WEIGHTS, 2)


def test_classes_are_found_by_code_or_abbreviation_and_equivalent_ones_are_one(tmp_path):
    classes, weights = load_cinc_weights(write_weights(tmp_path / "weights.csv"))
    assert classes == CLASSES and (weights == WEIGHTS).all()
    assert sinus_rhythm_index(classes) == 2 == sinus_rhythm_index(["AF", "LBBB", "NSR"])
    assert match_classes(["NSR", "TAb", "CLBBB|LBBB", "AF"], classes).tolist() == [3, 2, 0]
    assert match_classes(["164909002", "nsr", "164889003"], classes).tolist() == [2, 0, 1]
    with pytest.raises(DataError, match=r"164889003 \(AF\) has no label column"):
        match_classes(["NSR", "LBBB"], classes)
    with pytest.raises(DataError, match="two label columns: CLBBB, LBBB"):
        match_classes(["AF", "CLBBB", "LBBB", "NSR"], classes)
    with pytest.raises(DataError, match="sinus rhythm"):
        sinus_rhythm_index(["AF"])


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "empty"),
        (",a,b\nb,1,1\na,1,1\n", "first column"),
        (",a,b\na,1,1\nb,1\n", "2 in each row|inhomogeneous|rewards"),
        (",a\na,x\n", "must be a number"),
        (",a\na,nan\n", "not finite"),
    ],
)
def test_a_damaged_weights_file_is_named(tmp_path, text, message):
    path = tmp_path / "weights.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        load_cinc_weights(path)
    assert str(path) in str(error.value)


def test_a_missing_weights_file_says_what_it_is(tmp_path):
    with pytest.raises(DataError, match="evaluation code"):
        load_cinc_weights(tmp_path / "none.csv")
