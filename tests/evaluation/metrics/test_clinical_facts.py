"""Precision, recall and F1 of findings, against loops over sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.data.text.mentions import Vocabulary
from cmelt_plugin.evaluation.metrics.bootstrap import metrics_of_sums, resampled_sums
from cmelt_plugin.evaluation.metrics.clinical_facts import FactMetrics, read_facts

VOCABULARY = Vocabulary({"SR": ["sinus rhythm"], "STE": ["st elevation"], "LBBB": ["left bundle branch block"], "PVC": ["pvc"]})
PHRASES = ["sinus rhythm", "st elevation", "lbbb", "pvc s", "no st elevation", "without pvc but", "normal ecg"]
REPORT = st.lists(st.sampled_from(PHRASES), max_size=4).map(" ".join)


def of(generated, references):
    facts = FactMetrics(VOCABULARY.findings)
    columns = facts.columns(read_facts(VOCABULARY, generated), read_facts(VOCABULARY, references))
    return facts.metrics(columns.sum(axis=0))


def naive(generated, references, kind=0):
    """By class: what was hit, stated and true, counted one report after the other."""
    counts = {name: [0, 0, 0] for name in VOCABULARY.findings}
    for text, reference in zip(generated, references):
        said, true = VOCABULARY.findings_of(text)[kind], VOCABULARY.findings_of(reference)[kind]
        for name in VOCABULARY.findings:
            counts[name][0] += name in said and name in true
            counts[name][1] += name in said
            counts[name][2] += name in true
    return counts


def f1(hit, stated, true):
    precision, recall = hit / stated if stated else 0.0, hit / true
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@given(st.lists(st.tuples(REPORT, REPORT), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_metrics_agree_with_loops_over_sets(pairs):
    generated, references = zip(*pairs)
    found, every = of(generated, references), naive(generated, references)
    scored = []
    for name, (hit, stated, true) in every.items():
        assert found[f"precision/{name}"] == pytest.approx(hit / stated if stated else np.nan, nan_ok=True)
        assert found[f"recall/{name}"] == pytest.approx(hit / true if true else np.nan, nan_ok=True)
        expected = f1(hit, stated, true) if true else np.nan
        assert found[f"f1/{name}"] == pytest.approx(expected, nan_ok=True)
        scored += [expected] if true else []
    assert found["fact_macro_f1"] == pytest.approx(np.mean(scored) if scored else np.nan, nan_ok=True)
    for prefix, kind in (("fact", 0), ("denied", 1)):
        hit, stated, true = (sum(column) for column in zip(*naive(generated, references, kind).values()))
        assert found[f"{prefix}_precision"] == pytest.approx(hit / stated if stated else np.nan, nan_ok=True)
        assert found[f"{prefix}_recall"] == pytest.approx(hit / true if true else np.nan, nan_ok=True)
        assert found[f"{prefix}_f1"] == pytest.approx(f1(hit, stated, true) if true else np.nan, nan_ok=True)


def test_a_denied_finding_is_no_fact_and_counts_as_denied():
    found = of(["no st elevation", "sinus rhythm"], ["st elevation", "sinus rhythm no st elevation"])
    assert found["f1/STE"] == found["recall/STE"] == 0.0 and np.isnan(found["precision/STE"])
    assert found["f1/SR"] == 1.0
    assert found["denied_precision"] == found["denied_recall"] == 0.0
    copied = of(["sinus rhythm no st elevation"], ["sinus rhythm no st elevation"])
    assert copied["denied_f1"] == copied["fact_f1"] == copied["fact_macro_f1"] == 1.0


def test_intervals_are_those_of_resampled_counts():
    rng = np.random.default_rng(0)
    references = [" ".join(rng.choice(PHRASES, 2)) for _ in range(30)]
    generated = [text if rng.random() < 0.5 else " ".join(rng.choice(PHRASES, 2)) for text in references]
    facts = FactMetrics(VOCABULARY.findings)
    columns = facts.columns(read_facts(VOCABULARY, generated), read_facts(VOCABULARY, references))
    group = np.arange(30) // 2
    values, intervals = metrics_of_sums(columns, group, facts.metrics, 100, 3)
    samples = [facts.metrics(sums)["fact_macro_f1"] for sums in resampled_sums(columns, group, 100, 3)]
    assert intervals["fact_macro_f1"] == pytest.approx(np.percentile(samples, [2.5, 97.5]))
    assert intervals["fact_macro_f1"][0] < values["fact_macro_f1"] < intervals["fact_macro_f1"][1]
    with pytest.raises(ValueError, match="no reports"):
        read_facts(VOCABULARY, [])
