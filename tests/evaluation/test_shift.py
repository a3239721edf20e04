"""Table 11's mapping in both directions, and labels and scores in its terms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.shift import PAIRS, RULES, matched_targets, shift_classes, shift_labels, shift_scores
from cmelt_plugin.prompts import class_names

NAMES = {label_set: class_names(label_set) for label_set in ("ptb-xl-super", "cpsc2018", "csn")}
SUPER, CPSC = NAMES["ptb-xl-super"], NAMES["cpsc2018"]


def test_forward_directions_are_table_11():
    assert shift_classes("ptb-xl-super", "cpsc2018") == [
        ("NORM", ["NORM"]),
        ("CD", ["1AVB", "CRBBB", "CLBBB"]),
        ("STTC", ["STE", "STD"]),
    ]
    assert dict(shift_classes("ptb-xl-super", "csn")) == {
        "HYP": ["RVH", "LVH"],
        "NORM": ["SR"],
        "CD": ["2AVB", "2AVB1", "1AVB", "AVB", "LBBB", "RBBB", "STDD"],
        "MI": ["MI"],
        "STTC": ["STTC", "STE", "TWO", "STTU", "QTIE", "TWC"],
    }
    cpsc_csn = dict(shift_classes("cpsc2018", "csn"))
    assert list(cpsc_csn) == ["AFIB", "VPC", "NORM", "1AVB", "CRBBB", "STE", "PAC", "CLBBB", "STD"]
    assert cpsc_csn["STD"] == ["STE", "STTC", "STTU", "STDD"]
    assert [cpsc_csn[name] for name in ("VPC", "CRBBB", "PAC", "CLBBB")] == [["VPB"], ["RBBB"], ["APB"], ["LBBB"]]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_reverse_holds_the_same_pairs_and_only_known_classes(source, target):
    there = {(s, t) for s, targets in shift_classes(source, target) for t in targets}
    back = {(t, s) for s, targets in shift_classes(target, source) for t in targets}
    assert there == back
    assert {s for s, _ in there} <= set(NAMES[source]) and {t for _, t in there} <= set(NAMES[target])


def test_a_class_that_two_classes_match_has_two_in_reverse():
    assert dict(shift_classes("csn", "cpsc2018"))["STE"] == ["STE", "STD"]
    assert dict(shift_classes("cpsc2018", "ptb-xl-super"))["CRBBB"] == ["CD"]


def test_matched_targets_are_all_classes_where_the_paper_repeats_plain_zero_shot():
    """Table 4's zero-shot CSN → Super and CSN → CPSC equal Table 3's columns: every class of the target is matched."""
    assert sorted(matched_targets("csn", "ptb-xl-super")) == sorted(SUPER)
    assert sorted(matched_targets("csn", "cpsc2018")) == sorted(CPSC)
    assert matched_targets("ptb-xl-super", "cpsc2018") == ["NORM", "1AVB", "CRBBB", "CLBBB", "STE", "STD"]
    assert matched_targets("cpsc2018", "ptb-xl-super") == ["NORM", "CD", "STTC"]
    assert matched_targets("cpsc2018", "csn").count("STE") == 1


def test_union_of_targets_by_hand():
    """Columns are found by name, whatever their order in the target's array."""
    names = ["STD", "CLBBB", "AFIB", "STE", "1AVB", "NORM", "CRBBB", "VPC", "PAC"]
    nan = np.nan
    labels = np.array(
        [
            # STD CLBBB AFIB STE 1AVB NORM CRBBB VPC PAC
            [0, 1, 1, 0, 0, 0, 0, 0, 0],
            [1, 0, 0, 0, 0, 0, nan, 0, 0],
            [nan, nan, 0, 1, 1, nan, 0, 0, 0],
            [0, 0, 0, nan, 0, 1, 0, 0, 0],
        ]
    )
    got, classes = shift_labels("ptb-xl-super", "cpsc2018", labels, names)
    assert classes == ["NORM", "CD", "STTC"]
    np.testing.assert_array_equal(got, [[0, 1, 0], [0, nan, 1], [nan, 1, 1], [1, 0, nan]])
    got, classes = shift_labels("ptb-xl-super", "cpsc2018", labels, names, rule="target")
    assert classes == ["NORM", "1AVB", "CRBBB", "CLBBB", "STE", "STD"]
    np.testing.assert_array_equal(got, labels[:, [5, 4, 6, 1, 3, 0]])


@given(
    st.sampled_from(PAIRS),
    st.sampled_from(RULES),
    st.integers(0, 2**32 - 1),
)
def test_against_a_loop_and_aligned_with_the_scores(pair, rule, seed):
    source, target = pair
    rng = np.random.default_rng(seed)
    labels = rng.choice([0.0, 1.0, np.nan], size=(7, len(NAMES[target])), p=[0.6, 0.2, 0.2])
    scores = rng.normal(size=(7, len(NAMES[source])))
    got, classes = shift_labels(source, target, labels, NAMES[target], rule)
    shifted, scored_classes = shift_scores(source, target, scores, NAMES[source], rule)
    assert classes == scored_classes and got.shape == shifted.shape == (7, len(classes))
    links = [(s, t) for s, targets in shift_classes(source, target) for t in targets]
    for row in range(7):
        for column, name in enumerate(classes):
            if rule == "union":
                linked = [labels[row, NAMES[target].index(t)] for s, t in links if s == name]
                score = scores[row, NAMES[source].index(name)]
            else:
                linked = [labels[row, NAMES[target].index(name)]]
                score = max(scores[row, NAMES[source].index(s)] for s, t in links if t == name)
            expected = 1.0 if 1.0 in linked else np.nan if np.isnan(linked).any() else 0.0
            np.testing.assert_equal(float(got[row, column]), expected)
            assert shifted[row, column] == score


def test_what_cannot_be_mapped_is_refused_by_name():
    with pytest.raises(DataError, match="no class mapping from ptb-xl-form to csn"):
        shift_classes("ptb-xl-form", "csn")
    with pytest.raises(DataError, match="no class mapping"):
        shift_classes("csn", "csn")
    with pytest.raises(DataError, match="lack STE"):
        shift_labels("ptb-xl-super", "cpsc2018", np.zeros((1, 8)), [name for name in CPSC if name != "STE"])
    with pytest.raises(DataError, match="rule 'a'"):
        shift_labels("ptb-xl-super", "cpsc2018", np.zeros((1, 9)), CPSC, rule="a")
    with pytest.raises(DataError, match="cpsc2018 lack NORM"):
        shift_scores("cpsc2018", "csn", np.zeros((1, 8)), [name for name in CPSC if name != "NORM"])
