"""Facts of patients as files write them."""

from __future__ import annotations

from cmelt_plugin.intake.patient_facts import sex_of


def test_sexes() -> None:
    assert [sex_of(text) for text in ("M", "male", "MALE", " Female ", "f")] == ["M", "M", "M", "F", "F"]
    assert [sex_of(text) for text in ("", "unknown", "Mal", "W")] == [None] * 4
