"""Grounding in numbers and in words."""

from __future__ import annotations

import numpy as np
import pytest

from cmelt_plugin.evaluation.ground.attention import RecordAttention
from cmelt_plugin.evaluation.ground.scores import grounding_metrics, score, verdict
from cmelt_plugin.evaluation.ground.sentences import NamedFinding

STEPS, WIDTH = 100, 10
EVENT = [(200.0, 300.0)]  # steps 20 to 29


def peak(step):
    weights = np.full(STEPS, 0.001)
    weights[step] = 1.0
    return weights


def attention(*sentences, queries):
    return RecordAttention(0, np.zeros((12, STEPS * WIDTH)), np.stack(sentences), np.stack(queries), WIDTH)


def test_scores_of_a_sentence_and_of_chance():
    looks = attention(peak(25), peak(70), queries=[peak(22), peak(90), peak(3), peak(95)])
    right, wrong = (score(looks, NamedFinding(0, number, "PVC", EVENT)) for number in (0, 1))
    chance_iou = score(attention(np.ones(STEPS), queries=[np.ones(STEPS)]), NamedFinding(0, 0, "PVC", EVENT))[1]
    # Pointing of the sentence, its IoU; then the same of uniform attention and of the mean query.
    assert right[[0, 2, 4]].tolist() == [1.0, 0.1, 0.25] and wrong[[0, 2, 4]].tolist() == [0.0, 0.1, 0.25]
    assert right[1] > right[3] == chance_iou > wrong[1] > 0
    assert right[5] == pytest.approx((right[1] + 3 * wrong[1]) / 4)
    assert score(looks, NamedFinding(0, 0, "PVC", [(201, 204)])) is None
    assert score(looks, NamedFinding(0, 0, "PVC", [(2000, 3000)])) is None


def test_metrics_are_means_by_finding_with_differences():
    scores = np.array([[1, 0.5, 0.1, 0.05, 0.2, 0.1], [0, 0.1, 0.2, 0.05, 0.4, 0.1], [1, 0.9, 0.3, 0.1, 0.6, 0.1]])
    metrics, intervals = grounding_metrics(scores, ["PVC", "STE", "PVC"], np.arange(3), 200, 0)
    assert metrics["pointing"] == pytest.approx(2 / 3) and metrics["pointing/PVC"] == 1 and metrics["pointing/STE"] == 0
    assert metrics["iou|uniform"] == pytest.approx(0.2 / 3) and metrics["pointing/PVC|random"] == pytest.approx(0.4)
    assert metrics["pointing_gain|uniform"] == pytest.approx(2 / 3 - 0.2)
    assert metrics["iou_gain/STE|random"] == pytest.approx(0.0)
    assert intervals["pointing/PVC"] == (1.0, 1.0) and intervals["pointing"][0] < 2 / 3 < intervals["pointing"][1]
    assert grounding_metrics(scores, ["PVC"] * 3, np.arange(3), 0, 0)[1] == {}


@pytest.mark.parametrize(
    ("uniform", "random", "said"),
    [
        ((0.1, 0.3), (0.05, 0.2), "It points"),
        ((0.1, 0.3), (-0.1, 0.2), "does not depend on what the sentence says"),
        ((-0.1, 0.3), (0.1, 0.2), "it does not point"),
        ((-0.1, 0.3), (-0.1, 0.2), "It does not point"),
        ((-0.3, -0.1), (-0.1, 0.2), "Worse than uniform"),
    ],
)
def test_words_claim_what_intervals_allow(uniform, random, said):
    assert said in verdict({"pointing_gain|uniform": uniform, "pointing_gain|random": random})
    assert said in verdict({"pointing_gain/PVC|uniform": uniform, "pointing_gain/PVC|random": random}, "PVC")
    if said != "It points":
        assert "It points" not in verdict({"pointing_gain|uniform": uniform, "pointing_gain|random": random})
    assert "It does not point" in verdict({})  # a finding that no resample holds
