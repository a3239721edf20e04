"""Which systems are measured, and that other texts are noticed."""

from __future__ import annotations

import pytest

from benchmarks.cases import generation
from benchmarks.cases.generation import measured_system
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import NotMeasured


def test_the_system_is_the_first_whose_model_writes_reports_or_the_one_named() -> None:
    first = measured_system(None)
    assert measured_system(first.name) is first and hasattr(first.registered.model_class(), "generate")
    with pytest.raises(NotMeasured, match="cmelt has no model that writes reports"):
        measured_system("cmelt")


def test_other_texts_without_the_cache_are_noticed(monkeypatch) -> None:
    monkeypatch.setattr(generation, "write_reports", lambda model, ecg, max_tokens, use_cache: [[5, int(use_cache)]])
    with pytest.raises(AssertionError, match="other texts"):
        generation.run(Options(quick=True))
