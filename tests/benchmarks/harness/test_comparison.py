"""Regressions between two runs."""

from __future__ import annotations

import pytest
from benchmark_results import MACHINE, figure, report

from benchmarks.harness.comparison import change, compare
from benchmarks.harness.outcome import LOWER, Report


def regressions(old: Report, new: Report) -> list[str]:
    return compare(old, new)[1]


def test_equal_runs_have_no_regression() -> None:
    lines, found = compare(report(), report())
    assert found == []
    assert lines[-1] == "regressions: none"
    assert "  packed / mat  10.0 → 10.0 ×  +0.0%" in lines


def test_a_ratio_that_falls_beyond_the_spread_is_a_regression_and_a_rise_is_not() -> None:
    assert regressions(report(10), report(9.0)) == ["record_reading: packed / mat"]
    assert regressions(report(10), report(12.0)) == []
    assert any("BETTER" in line for line in compare(report(10), report(12.0))[0])


def test_a_fall_within_the_spread_is_none() -> None:
    wide = [figure("packed / mat", value, spread=0.2) for value in (10, 8)]
    assert change(*wide) == (pytest.approx(-0.2), "")


def test_more_seconds_are_worse_on_the_same_machine_and_not_looked_at_on_another() -> None:
    slower = report(seconds=3.0)
    assert regressions(report(), slower) == ["record_reading: loading"]
    elsewhere = report(seconds=3.0, machine={**MACHINE, "cpu": "Another"})
    lines, found = compare(report(), elsewhere)
    assert found == []
    assert not any("loading" in line for line in lines) and any("only ratios" in line for line in lines)


def test_a_ratio_counts_on_another_machine_too() -> None:
    assert regressions(report(), report(5, machine={**MACHINE, "threads": 1})) == ["record_reading: packed / mat"]


@pytest.mark.parametrize(("value", "verdict"), [(1.05, ""), (1.2, "worse"), (0.8, "better")])
def test_what_was_measured_once_must_change_by_a_tenth(value: float, verdict: str) -> None:
    once = [figure("s", each, spread=0, unit="s", better=LOWER, rounds=1) for each in (1.0, value)]
    assert change(*once)[1] == verdict


def test_figures_that_are_neither_better_nor_worse_are_no_regression() -> None:
    assert change(figure("share", 10, better=""), figure("share", 1, better=""))[1] == ""


def test_other_settings_are_not_compared() -> None:
    new = report(1)
    new.outcomes["record_reading"].settings = {"records": 20}
    lines, found = compare(report(), new)
    assert found == []
    assert any("other settings (records)" in line for line in lines)


def test_a_benchmark_that_fails_now_is_a_regression() -> None:
    assert regressions(report(), report(outcomes={}, failures={"record_reading": "broke"})) == ["record_reading: no result"]
