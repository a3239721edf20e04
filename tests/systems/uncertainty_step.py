"""Training steps with variances, here or in one of two processes: both import this module anew."""

from __future__ import annotations

from typing import Any

from cmelt_plugin import registry
from tests.systems.cases import CASES, criterion_of, hosted_model, measured_step


def criterion_with(name: str, **options: Any) -> Any:
    """The criterion of a case with other settings than its defaults."""
    case = CASES[name]
    made = criterion_of(case)
    return type(made)(registry.imported(case.criterion)(**options), made.task)


def uncertainty_step(name: str, kind: str, sample: dict[str, Any]) -> dict[str, Any]:
    """No record is read twice, for which leads that is depends on how the batch is divided."""
    return measured_step(
        hosted_model(CASES[name], uncertainty=kind), criterion_with(name, uncertainty_hidden_share=0.0), sample
    )
