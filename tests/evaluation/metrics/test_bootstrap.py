"""The vectorised bootstrap against a loop over the same resamples."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from cmelt_plugin.evaluation.metrics import bootstrap
from cmelt_plugin.evaluation.metrics.bootstrap import (
    bootstrap_samples,
    draw_counts,
    percentile_interval,
    percentile_intervals,
    resampled_sums,
    subject_groups,
)
from cmelt_plugin.evaluation.metrics.multi_label import classification_metrics

NAMES = ["a", "b", "rare"]


def cohort(seed, n=40):
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 3)) < 0.4).astype(float)
    labels[:, 2] = 0
    labels[:2, 2] = 1  # lost in about an eighth of the resamples
    labels[rng.random((n, 3)) < 0.1] = np.nan
    subjects = [f"s{i}" for i in rng.integers(0, n // 2, n)]
    return labels, rng.integers(0, 7, (n, 3)).astype(float), subjects


def slow_samples(labels, scores, subjects, thresholds, n, seed):
    """One resample after the other: the drawn subjects' records are put together and scored anew."""
    everybody = list(dict.fromkeys(subjects))
    counts = draw_counts(len(everybody), n, np.random.default_rng(seed))
    out = {key: [] for key in ("macro_auc", "macro_auprc", "macro_f1", "accuracy", "exact_match", "auc/rare", "auprc/a")}
    for row in counts:
        records = [i for person, times in zip(everybody, row) for _ in range(times) for i in np.flatnonzero(person == subjects)]
        y, s = labels[records], scores[records]
        aucs, precisions, f1s, right = [], [], [], []
        for c in range(3):
            known = ~np.isnan(y[:, c])
            target, score = y[known, c] == 1, s[known, c]
            both = target.any() and not target.all()
            aucs.append(roc_auc_score(target, score) if both else np.nan)
            precisions.append(average_precision_score(target, score) if both else np.nan)
            called = score >= thresholds[c]
            f1s.append(2 * (called & target).sum() / (called.sum() + target.sum()) if both else np.nan)
        right = (s >= thresholds) == (y == 1)
        known = ~np.isnan(y)
        out["macro_auc"].append(np.nanmean(aucs))
        out["macro_auprc"].append(np.nanmean(precisions))
        out["macro_f1"].append(np.nanmean(f1s))
        out["accuracy"].append(right[known].mean())
        out["exact_match"].append((right | ~known).all(axis=1)[known.any(axis=1)].mean())
        out["auc/rare"].append(aucs[2])
        out["auprc/a"].append(precisions[0])
    return out


@given(st.integers(0, 1000))
@settings(max_examples=5, deadline=None)
def test_equals_a_loop_over_the_same_resamples(seed):
    labels, scores, subjects = cohort(seed)
    thresholds = np.array([2.0, 4.0, 3.0])
    samples = bootstrap_samples(labels, scores, NAMES, subjects, n=40, seed=seed, thresholds=thresholds)
    expected = slow_samples(labels, scores, np.array(subjects), thresholds, 40, seed)
    for key, values in expected.items():
        np.testing.assert_allclose(samples[key], values, atol=1e-12, err_msg=key)
    intervals = percentile_intervals(samples)
    assert intervals["macro_auc"] == pytest.approx(tuple(np.percentile(expected["macro_auc"], [2.5, 97.5])))


def test_a_class_that_loses_its_positives_is_left_out_of_that_resample():
    labels, scores, _ = cohort(0)
    samples = bootstrap_samples(labels, scores, NAMES, None, n=300)
    lost = np.isnan(samples["auc/rare"])
    assert 20 < lost.sum() < 80  # (1 - 2 / 40) ** 40 = 0.13 of 300
    both = (samples["auc/a"] + samples["auc/b"]) / 2
    np.testing.assert_allclose(samples["macro_auc"][lost], both[lost])
    assert np.isfinite(samples["macro_auc"]).all()


def test_all_records_of_a_subject_are_drawn_together():
    """Forty copies of one ECG are one person's evidence: the interval must not shrink."""
    labels, scores, _ = cohort(1, 30)
    alone = percentile_intervals(bootstrap_samples(labels, scores, NAMES, [str(i) for i in range(30)], n=200))
    copies = [np.repeat(values, 40, axis=0) for values in (labels, scores)]
    together = percentile_intervals(bootstrap_samples(*copies, NAMES, np.repeat(np.arange(30), 40), n=200))
    assert together["auc/a"] == pytest.approx(alone["auc/a"])
    as_if_independent = percentile_intervals(bootstrap_samples(*copies, NAMES, None, n=200))
    width = {key: value["auc/a"][1] - value["auc/a"][0] for key, value in (("s", together), ("r", as_if_independent))}
    assert width["r"] < width["s"] / 3


def test_records_without_a_subject_id_are_not_one_person():
    assert subject_groups(5, ["x", "", "", "x", "y"]).tolist() == [0, 1, 2, 0, 3]
    assert subject_groups(3).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="2 subject ids for 3 records"):
        subject_groups(3, ["a", "b"])
    with pytest.raises(ValueError, match="no records"):
        subject_groups(0)


def test_intervals_hold_every_figure_that_is_defined_and_no_other():
    labels, scores, _ = cohort(2)
    labels[:, 2] = 0
    thresholds = np.array([2.0, np.nan, 1.0])
    intervals = percentile_intervals(bootstrap_samples(labels, scores, NAMES, n=50, thresholds=thresholds))
    macros = {"macro_auc", "macro_auc_10", "macro_auprc", "macro_f1", "accuracy", "exact_match"}
    assert set(intervals) == macros | {"auc/a", "auc/b", "auprc/a", "auprc/b", "f1/a"}
    figures = classification_metrics(labels, scores, NAMES, thresholds)
    for name in macros:
        low, high = intervals[name]
        assert low < getattr(figures, name) < high
    assert "macro_f1" not in percentile_intervals(bootstrap_samples(labels, scores, NAMES, n=5))


def test_seeds_decide_the_resamples_and_the_size_of_the_chunks_does_not(monkeypatch):
    labels, scores, subjects = cohort(3)
    first = bootstrap_samples(labels, scores, NAMES, subjects, n=30, seed=1)["macro_auc"]
    monkeypatch.setattr(bootstrap, "_CHUNK_CELLS", 100)
    np.testing.assert_array_equal(bootstrap_samples(labels, scores, NAMES, subjects, n=30, seed=1)["macro_auc"], first)
    assert (bootstrap_samples(labels, scores, NAMES, subjects, n=30, seed=2)["macro_auc"] != first).any()


def test_sums_are_over_the_same_resamples():
    labels, scores, subjects = cohort(4)
    thresholds = np.array([2.0, 4.0, 3.0])
    known = ~np.isnan(labels)
    right = known & ((scores >= thresholds) == (labels == 1))
    sums = resampled_sums(np.stack([right.sum(axis=1), known.sum(axis=1)], axis=1), subject_groups(40, subjects), 30, 5)
    samples = bootstrap_samples(labels, scores, NAMES, subjects, n=30, seed=5, thresholds=thresholds)
    np.testing.assert_allclose(sums[:, 0] / sums[:, 1], samples["accuracy"])


def test_the_interval_is_the_middle_95_percent():
    assert percentile_interval(np.append(np.arange(1001.0), np.nan)) == pytest.approx((25, 975))
    assert percentile_interval(np.array([np.nan])) is None


def test_as_many_subjects_are_drawn_as_there_are():
    counts = draw_counts(50, 200, np.random.default_rng(0))
    assert counts.shape == (200, 50) and (counts.sum(axis=1) == 50).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(50), abs=0.35)


def test_the_size_of_ptb_xl_sub_takes_seconds():
    rng = np.random.default_rng(0)
    labels = (rng.random((2158, 23)) < 0.05).astype(np.uint8)
    start = time.process_time()
    percentile_intervals(bootstrap_samples(labels, rng.normal(size=labels.shape), [str(c) for c in range(23)], None, 1000))
    assert time.process_time() - start < 10
