import json

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score

from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.finetuned.table import classifier_table
from cmelt_plugin.evaluation.finetuned.validation import ClassifierEvaluationOptions
from cmelt_plugin.evaluation.metrics.cinc2021 import load_cinc_weights
from cmelt_plugin.evaluation.metrics.classifier import CincScoring, evaluate_classifier, probabilities, ratio_interval
from cmelt_plugin.evaluation.metrics.thresholds import choose_thresholds
from tests.evaluation.validation_ranks import classification_of_rank, identification_of_rank
from tests.losses.ranks import two_ranks

NAMES = ["A", "B", "C"]


def example(n=60, seed=0, informative=1.0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 3)) < [0.5, 0.3, 0.2]).astype(np.float32)
    logits = (rng.normal(size=(n, 3)) + informative * (2 * labels - 1)).astype(np.float32)
    return labels, logits


def test_probabilities():
    logits = np.array([[0.0, 1.0, -800.0], [700.0, 3.0, -40.0]])
    np.testing.assert_allclose(probabilities(logits, False)[0, :2], [0.5, 1 / (1 + np.exp(-1))])
    assert probabilities(logits, False)[1, 2] == pytest.approx(np.exp(-40), rel=1e-9)  # small ones stay apart
    softmax = probabilities(np.array([[1.0, 2.0, 3.0]]), True)
    np.testing.assert_allclose(softmax, [np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum()])


def test_figures_against_scikit_learn():
    labels, logits = example()
    scores = probabilities(logits, False)
    thresholds = np.array([0.3, 0.5, 0.6])
    evaluation = evaluate_classifier(labels, scores, NAMES, thresholds=thresholds)
    calls = scores >= thresholds
    expected = {
        "macro_auc": roc_auc_score(labels, scores, average="macro"),
        "macro_auprc": average_precision_score(labels, scores, average="macro"),
        "macro_f1": f1_score(labels, calls, average="macro"),
        "accuracy": (labels.astype(bool) == calls).mean(),
        "exact_match": accuracy_score(labels, calls),
    }
    for name, value in expected.items():
        assert evaluation.metrics[name] == pytest.approx(value, abs=1e-9), name
    logged = evaluation.logged()
    assert logged["auc_B"] == pytest.approx(roc_auc_score(labels[:, 1], scores[:, 1]), abs=1e-9)
    assert logged["classes_without_auc"] == 0
    assert (evaluation.n_records, evaluation.n_subjects) == (60, 60)


def test_without_thresholds_there_is_no_figure_that_needs_decisions():
    labels, logits = example()
    assert set(evaluate_classifier(labels, probabilities(logits, False), NAMES).metrics) == {
        "macro_auc",
        "macro_auprc",
        "macro_auc_10",
    }


def test_figures_at_thresholds_chosen_on_the_same_records_carry_another_name():
    """D-E7: thresholds picked on the test set flatter; such a figure must not be mistaken for the honest one."""
    labels, logits = example(informative=0.0)
    scores = probabilities(logits, False)
    chosen = choose_thresholds(labels, scores)
    here = evaluate_classifier(labels, scores, NAMES, thresholds=chosen, chosen_here=True, n_bootstrap=20)
    assert {"macro_f1_at_chosen", "accuracy_at_chosen", "exact_match_at_chosen", "macro_auc"} <= set(here.metrics)
    assert "macro_f1" not in here.metrics and "macro_f1" not in here.intervals
    assert "macro_f1_at_chosen" in here.intervals
    fresh, more = example(seed=1, informative=0.0)
    there = evaluate_classifier(fresh, probabilities(more, False), NAMES, thresholds=chosen)
    assert here.metrics["macro_f1_at_chosen"] > there.metrics["macro_f1"]
    assert "(thresholds chosen on these records)" in classifier_table(here, "x")


def test_exclusive_classes_are_decided_by_the_largest_probability():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 3, 50)
    logits = rng.normal(size=(50, 3)) + 1.2 * np.eye(3)[target]
    labels = np.eye(3, dtype=np.float32)[target]
    labels[4] = np.nan
    known = np.arange(50) != 4
    evaluation = evaluate_classifier(
        labels, probabilities(logits, True), NAMES, multi_class=True, thresholds=np.ones(3), n_bootstrap=50
    )
    calls = logits.argmax(axis=1)
    assert evaluation.metrics["accuracy"] == pytest.approx(accuracy_score(target[known], calls[known]))
    assert evaluation.metrics["macro_f1"] == pytest.approx(f1_score(target[known], calls[known], average="macro"))
    low, high = evaluation.intervals["accuracy"]
    assert low < evaluation.metrics["accuracy"] < high
    assert "exact_match" not in evaluation.metrics


def test_classes_without_positives_are_left_out_and_named():
    """D-E8."""
    labels, logits = example()
    labels[:, 2] = 0
    evaluation = evaluate_classifier(labels, probabilities(logits, False), NAMES)
    aucs = [roc_auc_score(labels[:, c], logits[:, c]) for c in (0, 1)]
    assert evaluation.metrics["macro_auc"] == pytest.approx(np.mean(aucs))
    assert evaluation.logged()["classes_without_auc"] == 1 and "auc_C" not in evaluation.logged()
    assert "no AUROC (no positives or no negatives), left out of the means: C" in classifier_table(evaluation, "x")


def test_intervals_resample_subjects():
    labels, logits = example(200)
    scores = probabilities(logits, False)
    alone = evaluate_classifier(labels, scores, NAMES, n_bootstrap=300)
    # Every record ten times under the subject of the first: no more information than before.
    copies = np.repeat(np.arange(200), 10)
    subjects = [f"s{i}" for i in copies]
    copied = evaluate_classifier(labels[copies], scores[copies], NAMES, subjects=subjects, n_bootstrap=300)
    naive = evaluate_classifier(labels[copies], scores[copies], NAMES, n_bootstrap=300)
    width = {name: np.ptp(j.intervals["macro_auc"]) for name, j in (("alone", alone), ("copied", copied), ("naive", naive))}
    assert width["copied"] == pytest.approx(width["alone"], rel=0.25)
    assert width["naive"] < 0.5 * width["alone"]
    assert copied.n_subjects == 200
    low, high = alone.intervals["auc/A"]
    assert low < alone.per_class["A"].auc < high
    assert alone.logged()["macro_auc_low"] == alone.intervals["macro_auc"][0]


def test_ratio_interval_against_a_loop():
    rng = np.random.default_rng(0)
    above, below = rng.random(30), rng.random(30) + 0.5
    group = np.arange(30) // 3
    low, high = ratio_interval(above, below, group, 4000, 1)
    again = np.random.default_rng(5)
    drawn = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(group == g) for g in again.integers(0, 10, 10)])
        drawn.append(above[rows].sum() / below[rows].sum())
    np.testing.assert_allclose([low, high], np.percentile(drawn, [2.5, 97.5]), atol=0.01)


def write_weights(path):
    codes = ["426783006", "164889003", "270492004"]  # NSR, AF, IAVB
    rows = [["", *codes], [codes[0], 1, 0.2, 0.3], [codes[1], 0.5, 1, 0.4], [codes[2], 0.5, 0.6, 1]]
    path.write_text("\n".join(",".join(map(str, row)) for row in rows))
    return path


def test_cinc_score_by_hand(tmp_path):
    classes, weights = load_cinc_weights(write_weights(tmp_path / "weights.csv"))
    names = ["AF", "IAVB", "NSR"]
    labels = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]], dtype=np.float32)
    scores = np.array([[0.9, 0.1, 0.1], [0.2, 0.1, 0.8], [0.7, 0.4, 0.1]])  # AF right, NSR right, IAVB called AF
    halves = CincScoring.of(classes, weights, names, "0.5")
    # observed 1 + 1 + 0.6 / 2 (two classes true or called), correct 3, all sinus 0.5 / 2 + 1 + 0.5 / 2
    evaluation = evaluate_classifier(labels, scores, names, cinc=halves)
    assert evaluation.metrics["cinc_score"] == pytest.approx((2.3 - 1.5) / (3 - 1.5))
    chosen = CincScoring.of(classes, weights, names)
    assert "cinc_score" not in evaluate_classifier(labels, scores, names, cinc=chosen).metrics  # no thresholds yet
    right = evaluate_classifier(labels, scores, names, cinc=chosen, thresholds=np.array([0.8, 0.3, 0.5]))
    assert right.metrics["cinc_score"] == pytest.approx(1.0)
    here = evaluate_classifier(labels, scores, names, cinc=chosen, thresholds=np.array([0.8, 0.3, 0.5]), chosen_here=True)
    assert "cinc_score_at_chosen" in here.metrics and "cinc_score" not in here.metrics
    fixed = evaluate_classifier(labels, scores, names, cinc=halves, thresholds=np.ones(3), chosen_here=True, n_bootstrap=30)
    assert "cinc_score" in fixed.metrics and "cinc_score" in fixed.intervals  # 0.5 was not chosen here
    for threshold in ("high", "1.5"):
        with pytest.raises(DataError, match="must be 'validation' or a number between 0 and 1"):
            CincScoring.of(classes, weights, names, threshold)
    with pytest.raises(DataError, match="IAVB"):
        CincScoring.of(classes, weights, ["AF", "NSR"])


def test_cinc_score_of_the_challenges_own_code(real_data):
    """Labels and outputs scored with the published code of the challenge."""
    cases = json.loads((real_data / "scoring" / "cinc2021_expected.json").read_text())["cases"]
    classes, weights = load_cinc_weights(real_data / "scoring" / "cinc2021_weights.csv")
    names = [name.split("|")[0] for name in classes]
    order = np.random.default_rng(0).permutation(len(names))  # columns in any order
    scoring = CincScoring.of(classes, weights, [names[i] for i in order], "0.5")
    for case in cases:
        labels, calls = (np.asarray(case[key], dtype=np.float32)[:, order] for key in ("labels", "binary"))
        metrics = evaluate_classifier(labels, calls, [names[i] for i in order], cinc=scoring).metrics
        assert metrics["cinc_score"] == pytest.approx(case["challenge_metric"], abs=1e-9)


def classification_batches(labels, logits, parts):
    return [
        {"id": torch.tensor(ids), "logits": torch.from_numpy(logits[ids]), "labels": torch.from_numpy(labels[ids])}
        for ids in parts
    ]


def test_two_ranks_give_the_figures_and_thresholds_of_one_process():
    """D-M12, with a record on both ranks, unknown labels, and a rank that has one batch less."""
    labels, logits = example(21)
    labels[3, 1] = np.nan
    subjects = np.array([f"s{i // 2}" for i in range(21)])
    for options in (
        ClassifierEvaluationOptions("valid", NAMES, choose=True),
        ClassifierEvaluationOptions("test", NAMES, thresholds=np.array([0.4, np.nan, 0.5]), n_bootstrap=30),
        ClassifierEvaluationOptions("test", NAMES, multi_class=True),
    ):
        whole = classification_batches(labels, logits, [list(range(21))])
        expected, thresholds = classification_of_rank(options, subjects, whole, 1, False)
        ranks = [[list(range(0, 21, 2))], [list(range(1, 21, 2)), [20, 0]]]
        parts = [(options, subjects, classification_batches(labels, logits, own), 2, True) for own in ranks]
        for figures, found in two_ranks()(classification_of_rank, parts):
            assert figures == expected and figures["records"] == 21.0
            np.testing.assert_array_equal(found, thresholds)


def test_identification_over_two_ranks():
    rng = np.random.default_rng(0)
    subjects = np.array(["a", "b", "a", "c", "b", "a", "d"])  # c and d have one record each
    own = {name: rng.normal(size=5) for name in "abcd"}
    features = np.stack([own[s] + 0.01 * rng.normal(size=5) for s in subjects]).astype(np.float32)
    features[4] = features[0]  # the probe of b looks like a

    def batches(parts):
        return [{"id": torch.tensor(ids), "features": torch.from_numpy(features[ids])} for ids in parts]

    alone = identification_of_rank(subjects, batches([list(range(7))]), 1, False)
    assert alone == {"top1_accuracy": 0.5, "mean_rank": 1.5, "people": 2.0, "records": 7.0}
    # Rank 0 holds later records: gallery and probe follow the manifest, not the order of arrival.
    parts = [(subjects, batches([[6, 5, 4, 3]]), 1, True), (subjects, batches([[2, 1, 0]]), 1, True)]
    assert two_ranks()(identification_of_rank, parts) == [alone, alone]
