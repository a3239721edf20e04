"""Net benefits, counted record by record."""

import numpy as np
import pytest

from cmelt_plugin.evaluation.metrics.decision_curve import net_benefit


@pytest.mark.parametrize("cost", [0.5, 1.0, 9.0])
def test_found_cases_less_alarms_at_their_price(cost) -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(200)
    label = (rng.random(200) < probability).astype(float)
    label[::9], probability[::11] = np.nan, np.nan
    rows = [(y, p) for y, p in zip(label, probability) if y == y and p == p]
    gain = sum((1 if y else -1 / cost) for y, p in rows if p >= 1 / (1 + cost)) / len(rows)
    everybody = sum((1 if y else -1 / cost) for y, _ in rows) / len(rows)
    found = net_benefit(label, probability, cost)
    assert found == pytest.approx((gain, everybody))
    assert found.model >= max(0, found.everybody) - 0.02  # honest probabilities never harm


def test_ends() -> None:
    label = np.array([1.0, 0, 0, 0])
    assert net_benefit(label, label, 3).model == 0.25
    assert net_benefit(label, 1 - label, 3) == pytest.approx((-0.25, 0.0))
    assert np.isnan(net_benefit(label * np.nan, label, 3).model)
    with pytest.raises(ValueError, match="cost 0"):
        net_benefit(label, label, 0)
