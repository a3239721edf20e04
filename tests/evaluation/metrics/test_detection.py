"""Foreign recordings among ordinary ones, counted pair by pair."""

import numpy as np
import pytest

from cmelt_plugin.evaluation.metrics.detection import detection


def test_auroc_counts_pairs_and_fpr95_what_passes() -> None:
    rng = np.random.default_rng(0)
    ordinary, foreign = rng.integers(0, 12, 40).astype(float), rng.integers(4, 20, 30).astype(float)
    pairs = [(f > o) + 0.5 * (f == o) for f in foreign for o in ordinary]
    found = detection(ordinary, foreign)
    assert found.auroc == pytest.approx(np.mean(pairs))
    passing = [t for t in sorted(set(ordinary)) if (ordinary <= t).mean() >= 0.95]
    assert found.threshold == passing[0] and found.fpr95 == (foreign <= passing[0]).mean()


def test_ends() -> None:
    ordinary = np.arange(20.0)
    assert detection(ordinary, ordinary + 100)[:2] == (1.0, 0.0)
    assert detection(ordinary, ordinary - 100)[:2] == (0.0, 1.0)
    assert detection(ordinary, np.array([18.0, 18.5])).fpr95 == 0.5  # 19 of 20 pass
    same = detection(np.ones(5), np.ones(7))
    assert (same.auroc, same.fpr95) == (0.5, 1.0)
    with pytest.raises(ValueError, match="0 foreign"):
        detection(ordinary, np.zeros(0))
