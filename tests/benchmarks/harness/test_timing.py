"""Rounds, ratios within rounds, and contestants that do not fit into memory."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

from benchmarks.harness.timing import Race, figure_of, race


def test_each_contestant_runs_once_a_round_after_the_warm_up_and_the_order_changes() -> None:
    calls: list[str] = []
    contestants = {name: lambda name=name: calls.append(name) for name in "abc"}
    result = race(contestants, rounds=3, warmup=2)
    rounds = ["".join(calls[i : i + 3]) for i in range(0, len(calls), 3)]
    assert len(rounds) == 5
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds)
    assert sorted(each[0] for each in rounds[-3:]) == ["a", "b", "c"]  # everyone begins once
    assert {name: len(values) for name, values in result.seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_ratio_is_taken_within_rounds() -> None:
    result = Race({"slow": np.array([4.0, 30.0, 12.0]), "fast": np.array([2.0, 10.0, 3.0])})
    (ratio,) = result.ratio("fast / slow", "slow", "fast")
    assert (ratio.value, ratio.unit, ratio.better, ratio.rounds) == (3.0, "x", "higher", 3)  # median of 2, 3, 4
    assert (ratio.low, ratio.high) == (2.5, 3.5)


def test_rate_and_time_of_a_contestant() -> None:
    result = Race({"a": np.array([2.0, 4.0, 8.0])})
    assert result.rate("a", 16, "records/s")[0].value == 4.0
    assert result.time("a")[0].value == 4.0
    assert result.rate("b", 16, "records/s") == result.time("b") == result.ratio("", "a", "b") == []


def test_a_contestant_out_of_memory_is_left_out_and_the_others_are_timed() -> None:
    tries = []

    def too_large() -> None:
        tries.append(1)
        raise torch.cuda.OutOfMemoryError("Tried to allocate 300 GiB\nmore text")

    result = race({"too large": too_large, "fits": lambda: None}, rounds=4)
    assert len(tries) == 1
    assert result.failed == {"too large": "out of memory: Tried to allocate 300 GiB"}
    assert list(result.seconds) == ["fits"] and len(result.seconds["fits"]) == 4


def test_other_errors_are_not_swallowed_and_the_collector_is_switched_on_again() -> None:
    def broken() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        race({"broken": broken}, rounds=1)
    assert gc.isenabled()


def test_one_value_is_its_own_spread() -> None:
    figure = figure_of("x", 3.0, "s", "lower")
    assert (figure.value, figure.low, figure.high, figure.rounds) == (3.0, 3.0, 3.0, 1)
    assert figure.shown() == "3.00 s"
