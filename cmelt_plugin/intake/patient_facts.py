"""Dates, ages and sexes as files write them."""

from __future__ import annotations

from datetime import datetime

DAYS_A_YEAR = 365.25
OLDEST = 130  # years; more is a mistake of the file
_SEXES = {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F"}


def moment(year: int, month: int, day: int, *time: int) -> datetime | None:
    """A day, and the time of it where it is known; None where there is no such day or it lies before electrocardiography."""
    try:
        hour, minute, second = (*time, 0, 0, 0)[:3]
        found = datetime(year, month, day, hour, minute, second)
    except (ValueError, OverflowError, TypeError):
        return None
    return found if found.year >= 1900 else None


def sex_of(text: str) -> str | None:
    """``M`` or ``F`` of the English word or its first letter, in whatever letters; None for all else."""
    return _SEXES.get(text.strip().upper())


def age_between(birth: datetime | None, start: datetime | None) -> float | None:
    """Years from birth to a recording; None where either is unknown or they cannot both be right."""
    return plausible_age((start - birth).days / DAYS_A_YEAR) if birth is not None and start is not None else None


def plausible_age(years: float) -> float | None:
    """``years`` where a human can be so old."""
    return round(years, 2) if 0 <= years <= OLDEST else None
