"""How logged values are averaged over batches and ranks."""

from __future__ import annotations

from typing import Any

import pytest

from cmelt_plugin import host
from cmelt_plugin.criterions.base import LoggingCriterion


def reduced(logs: list[dict[str, Any]]) -> dict[str, float]:
    with host.metrics.aggregate() as values:
        LoggingCriterion.reduce_metrics(logs)
    return {name: float(value) for name, value in values.get_smoothed_values().items()}


def test_metrics_are_averaged_over_rows_and_counted_words() -> None:
    logs = [
        {"loss": 8.0, "loss_mlm": 6.0, "sample_size": 4, "mlm_accuracy/sum": 1, "mlm_accuracy/count": 10},
        {"loss": 3.0, "loss_mlm": 1.0, "sample_size": 1, "mlm_accuracy/sum": 2, "mlm_accuracy/count": 2},
    ]
    assert reduced(logs) == {"loss": 2.2, "loss_mlm": 1.4, "mlm_accuracy": 0.25}


def test_averages_over_several_log_intervals_keep_their_weights() -> None:
    with host.metrics.aggregate() as values:
        for loss, rows, correct, words in ((8.0, 4, 1, 10), (7.0, 1, 2, 2)):
            log = {"loss": loss, "sample_size": rows, "mlm_accuracy/sum": correct, "mlm_accuracy/count": words}
            LoggingCriterion.reduce_metrics([log])
    averages = values.get_smoothed_values()
    assert float(averages["loss"]) == pytest.approx(15 / 5)
    assert float(averages["mlm_accuracy"]) == pytest.approx(3 / 12)


def test_metrics_of_a_split_pass_through_beside_batches_without_them() -> None:
    batch = {"loss": 8.0, "sample_size": 4}
    metrics = {"loss": 2.0, "sample_size": 1, "metric/macro_auc": 0.75, "metric_ranks": 1}
    expected = {"loss": 2.0, "macro_auc": 0.75}
    assert reduced([batch, metrics]) == expected
    assert reduced([batch, metrics, {"sample_size": 0, "metric/macro_auc": 0.75, "metric_ranks": 1}]) == expected  # two ranks


def test_empty_batches_log_nothing() -> None:
    assert reduced([{"sample_size": 0, "nsentences": 0, "ntokens": 0}]) == {}
    assert reduced([{"loss": 1.0, "sample_size": 2, "mlm_accuracy/sum": 0, "mlm_accuracy/count": 0.0}]) == {"loss": 0.5}


def test_logging_outputs_can_be_summed() -> None:
    assert LoggingCriterion.logging_outputs_can_be_summed() is True
