"""Estimates of a value by several estimators on one split: metrics, result folder, table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.evaluation.metrics.regression import regression_intervals, regression_metrics
from cmelt_plugin.evaluation.options import CommandFacts
from cmelt_plugin.evaluation.regress.measured_split import MeasuredSplit
from cmelt_plugin.evaluation.result_files import VALUES_FILE, Result, write_result
from cmelt_plugin.tables import DASH, TextTable

MODEL = "model"
"""The estimator whose metrics have no prefix, and whose values are written record by record."""


class Estimator(NamedTuple):
    """What estimates a value, and its values.

    Attributes:
        title: for readers.
        value: float64 ``[n]``.
        low, high: ``[n]``, ends of its intervals, or None.
        rows: which of the N measured records these are; None: all.
    """

    title: str
    value: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    rows: np.ndarray | None = None


def regression_result(
    measured: MeasuredSplit,
    estimators: Mapping[str, Estimator],
    facts: CommandFacts,
    settings: Mapping[str, Any],
    notes: Sequence[str],
) -> Result:
    """The result of all estimators; metrics of others than :data:`MODEL` are called ``NAME/mae`` and so on."""
    metrics: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for name, estimator in estimators.items():
        rows = np.arange(len(measured.target)) if estimator.rows is None else estimator.rows
        values = (measured.target[rows], estimator.value, estimator.low, estimator.high)
        prefix = "" if name == MODEL else f"{name}/"
        metrics.update({f"{prefix}{key}": value for key, value in regression_metrics(*values).items()})
        if facts.bootstrap:
            subjects = [measured.subject_id[row] for row in rows]
            pairs = regression_intervals(*values, subjects, facts.bootstrap, facts.seed)
            intervals.update({f"{prefix}{key}": pair for key, pair in pairs.items()})
    return Result(
        kind="regression",
        model=facts.model,
        checkpoint=facts.checkpoint,
        data_set=measured.data_set,
        label_set="",
        split=measured.manifest.split,
        n_records=len(measured.target),
        n_subjects=measured.n_subjects,
        settings={
            "target": measured.column,
            **settings,
            "manifest": str(measured.manifest.directory),
            **facts.settings,
            "estimators": {name: estimator.title for name, estimator in estimators.items()},
            "estimated_records": {name: len(estimator.value) for name, estimator in estimators.items()},
            "bootstrap": facts.bootstrap,
            "seed": facts.seed,
        },
        metrics={name: value for name, value in metrics.items() if not math.isnan(value)},
        intervals=intervals,
        notes=list(notes),
        command=facts.command,
    )


def write_regression(
    folder: Path, result: Result, measured: MeasuredSplit, estimator: Estimator, uncertainty: np.ndarray | None
) -> None:
    """Write a result folder, the values of each record first; what an estimator does not give is NaN."""
    unknown = np.full(len(measured.target), np.nan)
    given = {"low": estimator.low, "high": estimator.high, "uncertainty": uncertainty}
    arrays: dict[str, Any] = {name: unknown if values is None else values for name, values in given.items()}
    with atomic_path(folder / VALUES_FILE) as temporary:
        np.savez(
            temporary,
            record_id=np.asarray(measured.record_id, dtype=np.str_),
            subject_id=np.asarray(measured.subject_id, dtype=np.str_),
            target=measured.target,
            value=estimator.value,
            **arrays,
        )
    write_result(folder, result)


def regression_table(named: Sequence[tuple[str, Result]]) -> TextTable:
    """A row per set and estimator, with 95 % intervals in brackets; errors in the unit of the values."""
    head = ["set", "values by", "records", "subjects", "MAE", "bias", "R²", "Spearman", "coverage (%)", "interval width"]
    rows = []
    for name, result in named:
        for estimator, title in result.settings["estimators"].items():
            prefix = "" if estimator == MODEL else f"{estimator}/"

            def cell(metric: str, digits: int, factor: float = 1.0, prefix: str = prefix, result: Result = result) -> str:
                value = result.metrics.get(f"{prefix}{metric}")
                if value is None:
                    return DASH
                pair = result.intervals.get(f"{prefix}{metric}")
                interval = "" if pair is None else f" [{factor * pair[0]:.{digits}f}, {factor * pair[1]:.{digits}f}]"
                return f"{factor * value:.{digits}f}{interval}"

            records = result.settings["estimated_records"][estimator]
            subjects = str(result.n_subjects) if records == result.n_records else DASH
            cells = [cell("mae", 2), cell("bias", 2), cell("r2", 3), cell("spearman", 3)]
            cells += [cell("coverage", 1, 100.0), cell("interval_width", 1)]
            rows.append([name, title, str(records), subjects, *cells])
    units = sorted({str(result.settings.get("unit") or "") for _, result in named} - {""})
    return TextTable(f"Regression{f' ({units[0]})' if len(units) == 1 else ''}", head, rows)
